import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from './command.ts';
import { commands } from './commands.ts';
import { main } from './main.ts';
import type { Terminal } from './terminal.ts';

function fake(): Terminal & { outs: string[]; says: string[] } {
  const outs: string[] = [];
  const says: string[] = [];
  return {
    outs,
    says,
    out: text => outs.push(text),
    say: text => says.push(text),
    interactive: false,
    color: false,
    columns: 80,
  };
}
async function run(...argv: string[]) {
  const terminal = fake();
  const code = await main(argv, terminal, { TANDEM_DATA: '/nonexistent/tandem' });
  return { code, out: terminal.outs.join('\n'), said: terminal.says.join('\n') };
}

test('an unknown command is refused with the near one, exit code 2', async () => {
  const { code, said } = await run('scael', 'x=1');
  assert.equal(code, 2);
  assert.match(said, /no command 'scael'; did you mean: tandem scale\?/);
});

test('an unknown option is refused with the near one, exit code 2', async () => {
  const { code, said } = await run('up', 'x.ts', '--scael', 'x=1');
  assert.equal(code, 2);
  assert.match(said, /no option --scael; did you mean --scale\?/);
});

test('missing and surplus words, wrong values and wrong JSON are usage errors that say what to write', async () => {
  for (const [argv, says] of [
    [['up'], /tandem up hello\.ts/],
    [['scale'], /scale SERVICE=N/],
    [['scale', 'inventory'], /inventory=10/],
    [['ps', 'x'], /does not take 'x'/],
    [['up', 'x.ts', '--port', 'many'], /--port: 'many' is not a whole number from 0 to 65535/],
    [['up', 'x.ts', '--port'], /--port/],
    [['call', 'greet'], /SERVICE\.METHOD/],
    [['call', 'hello.greet', '{name:1}'], /is not JSON/],
    [['topic', 'read', 'a', '{}'], /it knows: .*publish/],
    [['contract', 'chek'], /it knows: check/],
  ] as const) {
    const { code, said } = await run(...argv);
    assert.equal(code, 2, argv.join(' '));
    assert.match(said, says);
  }
});

test('nothing runs: every verb that needs an app says where it looked and what to do, exit code 1', async () => {
  for (const argv of [['ps'], ['stop'], ['scale', 'a=1'], ['call', 'a.b'], ['topic', 'publish', 'a', '{}']]) {
    const { code, said } = await run(...argv);
    assert.equal(code, 1);
    assert.match(said, /no app runs with the data in \/nonexistent\/tandem; start one with tandem up/);
  }
});

test('with --json an error is one object on standard output', async () => {
  const { code, out } = await run('ps', '--json');
  assert.equal(code, 1);
  assert.equal((JSON.parse(out) as { error: { code: string } }).error.code, 'NOT_FOUND');
});

test('a data directory that cannot be made is named with what to do, exit code 1', async () => {
  const { code, said } = await run('up', 'no-such.ts', '--data', '/dev/null/tandem');
  assert.equal(code, 1);
  assert.match(said, /data directory \/dev\/null\/tandem cannot be used/);
});

test('a flag that may stand alone has its own value then, and takes one when it is given', async () => {
  const { command } = await commands.find(({ name }) => name === 'dev')!.load();
  for (const [args, value] of [
    [['x.ts', '--inspect'], '9229'],
    [['--inspect', 'x.ts'], '9229'],
    [['x.ts', '--inspect=0'], '0'],
    [['--inspect', '9300', 'x.ts'], '9300'],
  ] as const) {
    const { words, flags } = parse('dev', command, args);
    assert.deepEqual([words, flags.inspect], [['x.ts'], value], args.join(' '));
  }
});

test('every command has a help text that names its flags', async () => {
  for (const entry of commands) {
    const { command } = await entry.load();
    const { code, out } = await run(entry.name, '--help');
    assert.equal(code, 0);
    for (const flag of Object.keys(command.flags)) assert(out.includes(`--${flag}`), `${entry.name} --${flag}`);
    assert(out.includes('--json'));
    assert.equal((await run('help', entry.name)).out, out);
  }
  const { out } = await run('--help');
  for (const { name } of commands) assert(out.includes(`\n  ${name}`));
});
