import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { UsageError } from './command.ts';
import { dnsAddress, loadConfigFile, resolveSettings, scaling } from './config.ts';

const resolved = (flags: Record<string, string | string[]>, environment: Record<string, string>, file?: object) =>
  resolveSettings({ words: [], flags, environment }, file);

test('a wrong flag is a usage error; a wrong value from elsewhere names where it came from', () => {
  assert.throws(() => resolved({ port: '70000' }, {}), UsageError);
  assert.throws(() => resolved({}, { PORT: 'x' }), { code: 'CONFIG', message: /^PORT: 'x'/ });
  assert.throws(() => resolved({}, {}, { gateways: 0 }), {
    code: 'CONFIG',
    message: /tandem\.config\.ts: gateways: '0'/,
  });
  assert.throws(() => resolved({}, { LOG_LEVEL: 'loud' }), { message: /one of: debug, info/ });
  assert.throws(() => scaling('inventory=-1'), UsageError);
});

test('flags win over environment, environment over file, file over default; each remembers its source', () => {
  const file = { port: 4000, host: '0.0.0.0', gateways: 3 };
  const settings = resolved({ port: '6000' }, { TANDEM_PORT: '5000', PORT: '5001', HOST: '::1' }, file);
  assert.deepEqual(settings.port, { value: 6000, source: '--port' });
  assert.deepEqual(settings.host, { value: '::1', source: 'HOST' });
  assert.deepEqual(settings.gateways, { value: 3, source: 'tandem.config.ts' });
  assert.deepEqual(settings.data, { value: '.tandem', source: 'default' });
  assert.deepEqual(resolved({}, { TANDEM_PORT: '5000', PORT: '5001' }).port, { value: 5000, source: 'TANDEM_PORT' });
  assert.deepEqual(resolved({}, { PORT: '' }).port, { value: 3000, source: 'default' });
});

test('DNS is answered at a port, or at an address and port', () => {
  for (const value of ['5300', '10.0.0.11:53', '[fd00::1]:53'])
    assert.equal(resolved({ dns: value }, {}).dns.value, value);
  for (const value of ['53000000', 'fd00::1:53', ':53', 'x', '10.0.0.1:'])
    assert.throws(() => resolved({ dns: value }, {}), {
      message: /no address for DNS; write a port, or 10\.0\.0\.11:53/,
    });
  assert.deepEqual(dnsAddress('[fd00::1]:53'), { host: 'fd00::1', port: 53 });
  assert.deepEqual(dnsAddress('5300'), { host: undefined, port: 5300 });
});

test('scales from flags and file are merged, the flag winning', () => {
  const { scale } = resolved({ scale: ['a=5'] }, {}, { scale: { a: 2, b: 3 } });
  assert.deepEqual(scale, { value: { a: 5, b: 3 }, source: '--scale' });
});

test('a config file that throws, exports nothing or has an unknown key is refused by name; none is fine', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'tandem-'));
  t.after(() => rmSync(directory, { recursive: true }));
  assert.equal(await loadConfigFile(directory), undefined);
  const cases = {
    'throw new Error("oops")': /oops/,
    'export const x = 1': /no default export/,
    'export default { prot: 1 }': /no setting 'prot'/,
  };
  for (const [content, message] of Object.entries(cases)) {
    const own = mkdtempSync(join(directory, 'c-'));
    writeFileSync(join(own, 'tandem.config.mjs'), content);
    await assert.rejects(loadConfigFile(own), { code: 'CONFIG', message });
  }
});
