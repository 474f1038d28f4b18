/**
 * What a process of the app shows to the others, and whom it believes: three PEM files of one directory, named as
 * Kubernetes and cert-manager mount them. They are looked at again when they changed, so renewing needs no restart.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { TandemError } from '../core/errors.ts';

export const tlsFileNames = { ca: 'ca.crt', cert: 'tls.crt', key: 'tls.key' } as const;

export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  /** The first of `cert`: our own. */
  readonly certificate: X509Certificate;
}

/** @throws CONFIG when one is missing, is not PEM, or key and certificate are not of one pair. */
export function readTlsFiles(directory: string): TlsFiles {
  const read = (name: string): string => {
    try {
      return readFileSync(join(directory, name), 'utf8');
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      const why = code === 'ENOENT' ? 'is not there' : `cannot be read (${code})`;
      throw new TandemError(
        'CONFIG',
        `link TLS: ${join(directory, name)} ${why}; the directory holds ${Object.values(tlsFileNames).join(', ')}`,
        { cause },
      );
    }
  };
  const parsed = <T>(name: string, parse: () => T): T => {
    try {
      return parse();
    } catch (cause) {
      throw new TandemError(
        'CONFIG',
        `link TLS: ${join(directory, name)} is not valid PEM: ${(cause as Error).message}`,
        {
          cause,
        },
      );
    }
  };
  const [ca, cert, key] = [read(tlsFileNames.ca), read(tlsFileNames.cert), read(tlsFileNames.key)];
  parsed(tlsFileNames.ca, () => new X509Certificate(ca));
  const certificate = parsed(tlsFileNames.cert, () => new X509Certificate(cert));
  const privateKey = parsed(tlsFileNames.key, () => createPrivateKey(key));
  if (!certificate.checkPrivateKey(privateKey))
    throw new TandemError(
      'CONFIG',
      `link TLS: ${join(directory, tlsFileNames.key)} is not the key of ${tlsFileNames.cert}`,
    );
  return { ca, cert, key, certificate };
}

/** When the files last changed, all in one text. Reading them too is left to the one who sees another text. */
export function tlsFilesVersion(directory: string): string {
  return Object.values(tlsFileNames)
    .map(name => {
      const stat = statSync(join(directory, name), { throwIfNoEntry: false });
      return stat ? `${stat.mtimeMs} ${stat.ino} ${stat.size}` : 'missing';
    })
    .join();
}

/** What others will not like about our own certificate; undefined when nothing. */
export function tlsProblem({ certificate, ca }: TlsFiles, nowMs: number): string | undefined {
  if (certificate.validToDate.getTime() < nowMs) return `our certificate expired on ${isoDay(certificate.validToDate)}`;
  if (certificate.validFromDate.getTime() > nowMs)
    return `our certificate is valid only from ${isoDay(certificate.validFromDate)}`;
  const issuers = ca.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  const isOurs = issuers.some(pem => {
    const issuer = new X509Certificate(pem);
    return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
  });
  return isOurs || certificate.issuerCertificate ? undefined : `our certificate is not issued by ${tlsFileNames.ca}`;
}

function isoDay(date: Date): string {
  return date.toISOString().slice(0, 10);
}
