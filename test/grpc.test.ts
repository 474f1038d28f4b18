// A real app before Debian's grpcio: what `tandem gen proto` wrote, compiled by protoc, is all that the client knows.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { folderWith, prints, ran, root, stateOf, tandem, until } from './running-app.ts';

const example = join(root, 'examples/08-grpc');
/** The service as somebody edited it later, with other fields and in another order; its clients are built from the file of before. */
const edited = readFileSync(join(example, 'sensors.ts'), 'utf8')
  .replace(
    '{ sensor: z.string(), celsius: z.number() }',
    '{ place: z.string().optional(), celsius: z.number(), sensor: z.string() }',
  )
  .replace('{ taken: z.int(), hottest: z.number().nullable() }', '{ hottest: z.number().nullable(), taken: z.int() }');
const folder = folderWith({ 'sensors.ts': edited });
const data = join(folder, 'data');
const python = join(folder, 'python');
const protos = join(folder, 'proto');
/** What the tests need of the machine, and Debian calls so. */
const missing = [
  ['protoc', ['--version'], 'protobuf-compiler'],
  ['/usr/bin/python3', ['-c', 'import grpc, google.protobuf'], 'python3-grpcio, python3-protobuf'],
] as const;
const absent = missing.filter(([command, args]) => spawnSync(command, args).status !== 0).map(([, , name]) => name);
const skip = absent.length > 0 ? `needs ${absent.join(', ')}` : false;
let address = '';
let app: ReturnType<typeof tandem>;

before(async () => {
  if (skip) return;
  copyFileSync(join(example, 'tandem.lock.json'), join(folder, 'tandem.lock.json'));
  app = tandem(['up', 'sensors.ts', '--data', data, '--port', '0', '--gateways', '1', '--json'], { cwd: folder });
  mkdirSync(protos);
  copyFileSync(join(example, 'sensors.proto'), join(protos, 'sensors.proto'));
  for (const name of ['health', 'reflection', 'status'])
    copyFileSync(join(root, `test/grpc/${name}.proto`), join(protos, `${name}.proto`));
  const reflection = readFileSync(join(protos, 'reflection.proto'), 'utf8');
  writeFileSync(join(protos, 'reflection_alpha.proto'), reflection.replace('reflection.v1;', 'reflection.v1alpha;'));
  mkdirSync(python);
  const files = ['sensors', 'health', 'reflection', 'reflection_alpha', 'status'].map(name => `${name}.proto`);
  execFileSync('protoc', ['-I', protos, `--python_out=${python}`, ...files]);
  await prints(app, /"kind":"up"/);
  address = stateOf(data)!.facts.gatewayUrl!.replace('http://', '');
});

async function run(script: string): Promise<string> {
  const child = spawn('/usr/bin/python3', [script, address], { env: { ...process.env, PYTHONPATH: python } });
  let out = '';
  let said = '';
  child.stdout.on('data', chunk => {
    out += chunk;
  });
  child.stderr.on('data', chunk => {
    said += chunk;
  });
  const code = await new Promise(resolve => child.once('close', resolve));
  assert.equal(code, 0, said);
  return out;
}

test('the files of the example are those that its contract gives', async () => {
  const checked = await ran(['gen', 'proto', join(example, 'sensors.ts'), '--out', example, '--check']);
  assert.equal(checked.code, 0, checked.printed);
});

test('the client of the example says what its page says', { skip }, async () => {
  assert.deepEqual((await run(join(example, 'client.py'))).trim().split('\n'), [
    'put: 1',
    'latest: 21.5',
    'nobody: False',
    'watch: 21.5',
    'report: 3 24.0',
    'smooth: [10.0, 15.0, 20.0]',
    'refused: FAILED_PRECONDITION tooHot',
  ]);
});

test('a Python client makes every kind of call, and sees errors, deadlines, health and reflection', {
  skip,
}, async () => {
  const seen = JSON.parse(await run(join(root, 'test/grpc/client.py')));
  assert(seen.put > 1);
  assert.equal(seen.session, '1.');
  assert.deepEqual([seen.latest, seen.nobody, seen.once], [21.5, false, [1, 1]]);
  assert.deepEqual([seen.watch, seen.report, seen.empty, seen.smooth], [21.5, [3, 24], false, [10, 15, 20]]);
  const { metadata, ...declared } = seen.declared;
  assert.deepEqual(declared, {
    code: 'FAILED_PRECONDITION',
    details: 'tooHot',
    reason: 'tooHot',
    types: ['type.googleapis.com/google.rpc.ErrorInfo', 'type.googleapis.com/sensors.PutTooHot'],
  });
  assert.equal(metadata.outcome, 'not-done');
  assert.equal(seen.limit, 100);
  assert.equal(seen.late, 'DEADLINE_EXCEEDED');
  assert(seen.lateSeconds < 5, `${seen.lateSeconds} s`);
  assert.deepEqual([seen.cancelled, seen.unknown], [true, 'UNIMPLEMENTED']);
  assert.deepEqual([seen.health, seen.noHealth, seen.healthWatch], [[1, 1], 'NOT_FOUND', 1]);
  for (const version of ['v1', 'v1alpha']) {
    assert.deepEqual(seen[version], {
      services: [
        'grpc.health.v1.Health',
        'grpc.reflection.v1.ServerReflection',
        'grpc.reflection.v1alpha.ServerReflection',
        'sensors.Sensors',
      ],
      methods: ['Put', 'Latest', 'Watch', 'Report', 'Smooth', 'Calibrate'],
      same: true,
      echo: true,
      none: [5, 5],
    });
  }
  // Once for the deadline, once for the cancellation: both reach the service.
  await until('the service gave both up', async () => {
    const { printed } = await ran(['logs', '--data', data, '--json'], { cwd: folder });
    return printed.split('calibration was given up').length === 3;
  });
});
