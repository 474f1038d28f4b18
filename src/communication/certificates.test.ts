/** Not a test itself: an authority and certificates of it, made by openssl in a temporary directory. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface CertificateOptions {
  readonly name: string;
  /** Default: `IP:127.0.0.1`. */
  readonly for?: string;
  /** It ended yesterday. */
  readonly expired?: boolean;
}

export interface Authority extends Disposable {
  /** A directory with `ca.crt`, `tls.crt` and `tls.key`. */
  issue(options: CertificateOptions): string;
}

export const opensslMissing: string | false = (() => {
  try {
    execFileSync('openssl', ['version']);
    return false;
  } catch {
    return 'openssl is not installed: apt-get install openssl';
  }
})();

const day = (offset: number): string =>
  new Date(Date.now() + offset * 86_400_000)
    .toISOString()
    .replace(/[-:T]|\..*/g, '')
    .concat('Z');

export function openAuthority(name = 'tandem test authority'): Authority {
  const directory = mkdtempSync(join(tmpdir(), 'tandem-tls-'));
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' });
  const ellipticKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl('req', '-x509', ...ellipticKey, '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '2', '-subj', `/CN=${name}`);
  // `openssl ca` is what can date a certificate back.
  writeFileSync(join(directory, 'index.txt'), '');
  writeFileSync(
    join(directory, 'ca.cnf'),
    '[ca]\ndefault_ca=x\n[x]\ndatabase=index.txt\nnew_certs_dir=.\nrand_serial=yes\nunique_subject=no\npolicy=p\n[p]\ncommonName=supplied\n',
  );
  let serial = 0;
  return {
    issue({ name: commonName, for: names = 'IP:127.0.0.1', expired = false }) {
      const own = join(directory, `${++serial}-${commonName}`);
      mkdirSync(own);
      const [key, request, cert] = ['tls.key', 'request', 'tls.crt'].map(file => join(own, file)) as [
        string,
        string,
        string,
      ];
      openssl('req', ...ellipticKey, '-keyout', key, '-out', request, '-subj', `/CN=${commonName}`);
      writeFileSync(join(own, 'names'), `subjectAltName=${names}\n`);
      const dates = expired
        ? ['-startdate', day(-3), '-enddate', day(-1)]
        : ['-startdate', day(-1), '-enddate', day(30)];
      const authority = ['-config', 'ca.cnf', '-cert', 'ca.crt', '-keyfile', 'ca.key', '-md', 'sha256'];
      openssl(
        'ca',
        '-batch',
        '-notext',
        ...authority,
        ...dates,
        '-extfile',
        join(own, 'names'),
        '-in',
        request,
        '-out',
        cert,
      );
      copyFileSync(join(directory, 'ca.crt'), join(own, 'ca.crt'));
      return own;
    },
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}
