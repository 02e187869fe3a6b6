/**
 * The certificates of a cluster: one CA, and one certificate for each node, ECDSA P-256.
 * A node is who its certificate says: the SAN URI `banyan://CLUSTER/REGION/NODE` (io/peer/identity).
 *
 * K1: a private key is never readable by others, not even for a moment: its file is created 0600.
 * K2: nothing is overwritten unless asked to.
 */

import 'reflect-metadata'; // @peculiar/x509 does not load without it.

import { createPrivateKey, webcrypto, X509Certificate as NodeCertificate } from 'node:crypto';
import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';

import * as x509 from '@peculiar/x509';

import { peerName } from '../base/peerName.ts';
import { err, ok, type Result } from '../base/result.ts';
import { certificateIdentity, identityUri, type PeerIdentity } from './peer/identity.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 24 * 3600 * 1000;
/** Clocks may differ by this when a certificate is new. */
const BACKDATED_MS = 5 * 60 * 1000;
/** Longest life of a certificate, days. */
export const CERT_DAYS_MAX = 3_650;
/** The CA outlives what it signs by this factor, days at most CERT_DAYS_MAX. */
const CA_LIFE_FACTOR = 10;

/** The names of the CA's files. */
export const CA_CERT_FILE = 'ca.pem';
export const CA_KEY_FILE = 'ca.key';

/** Whom a certificate is for. */
export interface CertNode {
  readonly region: string;
  readonly node: string;
  /** A further node of its region; absent: the first one. */
  readonly isFurther?: boolean;
}

/** The name of a node's files: that of the region, of a further node the region's and its own. */
export function certFile({ region, node, isFurther }: CertNode): string {
  return isFurther === true ? `${region}_${node}` : region;
}

/** What to make. */
export interface CertsOrder {
  readonly dir: string;
  readonly cluster: string;
  readonly nodes: readonly CertNode[];
  /** Life of the node certificates, days. */
  readonly days: number;
  /** True: what is there is replaced. */
  readonly isForced: boolean;
  /** Unix time, ms. */
  readonly wallMs: number;
}

/** One certificate file. */
export interface CertFile {
  readonly file: string;
  /** Null where no private key lies beside it. */
  readonly keyFile: string | null;
  /** `admin`: of an admin listener. `operator`: of somebody who calls one. */
  readonly kind: 'ca' | 'node' | 'admin' | 'operator' | 'other';
  readonly cluster: string | null;
  readonly region: string | null;
  readonly node: string | null;
  readonly notBefore: string;
  readonly notAfter: string;
  /** Whole days left; negative: expired. */
  readonly daysLeft: number;
  /** SHA-256 of the DER, hex. */
  readonly fingerprint: string;
  /** What is wrong with it, a sentence each. */
  readonly problems: readonly string[];
}

/** Why nothing was made or shown. */
export type CertsError =
  | { readonly kind: 'exists'; readonly files: readonly string[] }
  /** The node has one as the first of its region, or as a further one, and is now to be the other. */
  | { readonly kind: 'same-node'; readonly file: string; readonly node: string }
  | { readonly kind: 'no-ca'; readonly detail: string }
  | { readonly kind: 'io'; readonly detail: string };

interface KeyedCertificate {
  readonly certificate: x509.X509Certificate;
  readonly keys: CryptoKeyPair;
}

type CryptoKeyPair = webcrypto.CryptoKeyPair;

/** Makes a CA and a certificate for each node. The files made. */
export async function initCerts(
  order: CertsOrder,
): Promise<Result<readonly CertFile[], CertsError>> {
  const names = filesOf(order);
  return await guarded(async () => {
    const there = await claim(order, [CA_CERT_FILE, CA_KEY_FILE, ...names]);
    if (!there.ok) return there;
    const ca = await makeCa(order);
    await save(order, CA_CERT_FILE, CA_KEY_FILE, ca);
    return ok(await issueAll(order, ca));
  });
}

/** Makes certificates for more nodes with the CA of `order.dir`; its cluster must be the same. */
export async function addCerts(
  order: Omit<CertsOrder, 'cluster'>,
): Promise<Result<readonly CertFile[], CertsError>> {
  return await guarded(async () => {
    const ca = await loadCa(order.dir);
    if (!ca.ok) return ca;
    const there = await claim(order, filesOf(order));
    if (!there.ok) return there;
    const same = await sameNode(order, ca.value.cluster);
    if (same !== null) return err(same);
    return ok(await issueAll({ ...order, cluster: ca.value.cluster }, ca.value));
  });
}

function filesOf({ nodes }: Pick<CertsOrder, 'nodes'>): readonly string[] {
  return nodes.map(certFile).flatMap((file) => [`${file}.pem`, `${file}.key`]);
}

/** What to make for admin listeners and those who call them. */
export interface AdminCertsOrder extends Omit<CertsOrder, 'cluster' | 'nodes'> {
  /** Names or addresses under which admin listeners are called; empty: no certificate for them. */
  readonly hosts: readonly string[];
  /** Common names of people and programs. */
  readonly operators: readonly string[];
}

/**
 * Makes `admin.pem` for admin listeners, and `operator-NAME.pem` for each operator, with the CA of
 * `order.dir`. No node takes one of them for a peer: they carry no name of a node.
 */
export async function addAdminCerts(
  order: AdminCertsOrder,
): Promise<Result<readonly CertFile[], CertsError>> {
  return await guarded(async () => {
    const ca = await loadCa(order.dir);
    if (!ca.ok) return ca;
    const { hosts, operators } = order;
    const wanted: (readonly [string, Passport])[] = operators.map((name) => [
      `operator-${name}`,
      passport(name, ca.value.cluster, x509.ExtendedKeyUsage.clientAuth, []),
    ]);
    if (hosts.length > 0) {
      const names = hosts.map((host) => ({ type: isIP(host) === 0 ? 'dns' : 'ip', value: host }));
      const usage = x509.ExtendedKeyUsage.serverAuth;
      wanted.push(['admin', passport('admin', ca.value.cluster, usage, names)]);
    }
    const files = wanted.flatMap(([name]) => [`${name}.pem`, `${name}.key`]);
    const there = await claim(order, files);
    if (!there.ok) return there;
    const authority = new NodeCertificate(ca.value.certificate.toString('pem'));
    const made: CertFile[] = [];
    for (const [name, identity] of wanted) {
      await save(order, `${name}.pem`, `${name}.key`, await issue(order, identity, ca.value));
      made.push(await describe(order.dir, `${name}.pem`, authority, order.wallMs));
    }
    return ok(made);
  });
}

function passport(
  name: string,
  cluster: string,
  usage: x509.ExtendedKeyUsageType,
  names: Passport['names'],
): Passport {
  return { subject: `CN=${name}, O=${cluster}`, usages: [usage], names };
}

/** Reads every certificate of a folder and checks it against the CA there. */
export async function showCerts(
  dir: string,
  wallMs: number,
): Promise<Result<readonly CertFile[], CertsError>> {
  return await guarded(async () => {
    const files = (await readdir(dir)).filter((name) => name.endsWith('.pem')).toSorted();
    const ca = await readCertificate(join(dir, CA_CERT_FILE));
    const shown: CertFile[] = [];
    for (const file of files) shown.push(await describe(dir, file, ca, wallMs));
    return ok(shown);
  });
}

async function guarded<T>(
  work: () => Promise<Result<T, CertsError>>,
): Promise<Result<T, CertsError>> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && 'syscall' in cause)) throw cause;
    return err({ kind: 'io', detail: cause.message });
  }
}

async function claim(
  order: { readonly dir: string; readonly isForced: boolean },
  names: readonly string[],
): Promise<Result<null, CertsError>> {
  await mkdir(order.dir, { recursive: true, mode: 0o700 });
  if (order.isForced) return ok(null);
  const there = new Set(await readdir(order.dir));
  const files = names.filter((name) => there.has(name));
  return files.length === 0 ? ok(null) : err({ kind: 'exists', files });
}

/** The first node and a further one with one name are taken for each other; null: they differ. */
async function sameNode(
  { dir, nodes }: Pick<CertsOrder, 'dir' | 'nodes'>,
  cluster: string,
): Promise<Extract<CertsError, { readonly kind: 'same-node' }> | null> {
  for (const one of nodes) {
    const file = `${certFile({ ...one, isFurther: one.isFurther !== true })}.pem`;
    const certificate = await readCertificate(join(dir, file));
    const identity = certificate === null ? null : certificateIdentity(certificate);
    if (identity?.ok !== true) continue;
    const { region, node } = identity.value;
    const isSame = region === one.region && node === one.node;
    if (isSame && identity.value.cluster === cluster) {
      return { kind: 'same-node', file, node: peerName(region, node) };
    }
  }
  return null;
}

async function makeCa(order: CertsOrder): Promise<KeyedCertificate> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const days = Math.min(CERT_DAYS_MAX, order.days * CA_LIFE_FACTOR);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: `CN=Banyan CA of ${order.cluster}, O=${order.cluster}`,
    ...validity(order.wallMs, days),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate, keys };
}

async function issueAll(order: CertsOrder, ca: KeyedCertificate): Promise<readonly CertFile[]> {
  const authority = new NodeCertificate(ca.certificate.toString('pem'));
  const made: CertFile[] = [];
  for (const whom of order.nodes) {
    const { region, node } = whom;
    const file = certFile(whom);
    const identity = nodePassport({ cluster: order.cluster, region, node });
    await save(order, `${file}.pem`, `${file}.key`, await issue(order, identity, ca));
    made.push(await describe(order.dir, `${file}.pem`, authority, order.wallMs));
  }
  return [await describe(order.dir, CA_CERT_FILE, authority, order.wallMs), ...made];
}

/** What a certificate says of its owner. */
interface Passport {
  readonly subject: string;
  readonly usages: readonly x509.ExtendedKeyUsageType[];
  readonly names: readonly { readonly type: string; readonly value: string }[];
}

function nodePassport(identity: PeerIdentity): Passport {
  return {
    subject: `CN=${identity.node}, OU=${identity.region}, O=${identity.cluster}`,
    usages: [x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth],
    names: [{ type: 'url', value: identityUri(identity) }],
  };
}

async function issue(
  order: Pick<CertsOrder, 'wallMs' | 'days'>,
  { subject, usages, names }: Passport,
  ca: KeyedCertificate,
): Promise<KeyedCertificate> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject,
    issuer: ca.certificate.subject,
    ...validity(order.wallMs, order.days),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: ca.keys.privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([...usages]),
      ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension([...names])]),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(ca.keys.publicKey),
    ],
  });
  return { certificate, keys };
}

function validity(wallMs: number, days: number): { notBefore: Date; notAfter: Date } {
  return {
    notBefore: new Date(wallMs - BACKDATED_MS),
    notAfter: new Date(wallMs + days * DAY_MS),
  };
}

/** 127 random bits: positive, as RFC 5280 §4.1.2.2 asks. */
function serialNumber(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return Buffer.from(bytes).toString('hex');
}

async function save(
  order: { readonly dir: string },
  certFile: string,
  keyFile: string,
  made: KeyedCertificate,
): Promise<void> {
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', made.keys.privateKey);
  // The key first: a certificate without its key is of no use, and a key alone does no harm.
  await writeWhole(join(order.dir, keyFile), x509.PemConverter.encode(pkcs8, 'PRIVATE KEY'), 0o600);
  await writeWhole(join(order.dir, certFile), made.certificate.toString('pem'), 0o644);
}

/** Whole or not at all, its mode right from the start. */
async function writeWhole(path: string, text: string, mode: number): Promise<void> {
  const draft = `${path}.${process.pid}.tmp`;
  await writeFile(draft, `${text.trimEnd()}\n`, { mode, flag: 'wx' });
  await rename(draft, path);
}

async function loadCa(
  dir: string,
): Promise<Result<KeyedCertificate & { readonly cluster: string }, CertsError>> {
  const certText = await readText(join(dir, CA_CERT_FILE));
  const keyText = await readText(join(dir, CA_KEY_FILE));
  if (certText === null || keyText === null) {
    return err({ kind: 'no-ca', detail: `${CA_CERT_FILE} and ${CA_KEY_FILE} must lie in ${dir}` });
  }
  const certificate = new x509.X509Certificate(certText);
  const cluster = certificate.subjectName.getField('O')[0];
  const isPair = new NodeCertificate(certText).checkPrivateKey(createPrivateKey(keyText));
  if (cluster === undefined || !isPair) {
    return err({ kind: 'no-ca', detail: `${CA_CERT_FILE} is not a CA that Banyan made` });
  }
  const pkcs8 = x509.PemConverter.decodeFirst(keyText);
  const { subtle } = webcrypto;
  const privateKey = await subtle.importKey('pkcs8', pkcs8, ALGORITHM, false, ['sign']);
  const publicKey = await certificate.publicKey.export(ALGORITHM, ['verify']);
  return ok({ certificate, keys: { privateKey, publicKey }, cluster });
}

async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null;
    throw cause;
  }
}

async function readCertificate(path: string): Promise<NodeCertificate | null> {
  const text = await readText(path);
  if (text === null) return null;
  try {
    return new NodeCertificate(text);
  } catch {
    return null; // Not a certificate: the caller says so.
  }
}

async function describe(
  dir: string,
  file: string,
  ca: NodeCertificate | null,
  wallMs: number,
): Promise<CertFile> {
  const certificate = await readCertificate(join(dir, file));
  const keyFile = file.replace(/\.pem$/, '.key');
  const keyText = await readText(join(dir, keyFile));
  if (certificate === null) return unreadable(file);
  const identity = certificateIdentity(certificate);
  const problems: string[] = [];
  if (ca === null) problems.push(`there is no ${CA_CERT_FILE} beside it`);
  else if (!certificate.verify(ca.publicKey)) problems.push('it is not signed by the CA beside it');
  const kind = kindOf(certificate, identity.ok);
  if (kind === 'other' && !identity.ok) problems.push(identity.error);
  if (certificate.validToDate.getTime() <= wallMs) problems.push('it has expired');
  if (certificate.validFromDate.getTime() > wallMs) problems.push('it is not valid yet');
  if (keyText !== null)
    problems.push(...(await keyProblems(join(dir, keyFile), keyText, certificate)));
  return {
    file,
    keyFile: keyText === null ? null : keyFile,
    kind,
    cluster: identity.ok ? identity.value.cluster : organisation(certificate),
    region: identity.ok ? identity.value.region : null,
    node: identity.ok ? identity.value.node : null,
    notBefore: certificate.validFromDate.toISOString(),
    notAfter: certificate.validToDate.toISOString(),
    daysLeft: Math.floor((certificate.validToDate.getTime() - wallMs) / DAY_MS),
    fingerprint: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    problems,
  };
}

function kindOf(certificate: NodeCertificate, hasIdentity: boolean): CertFile['kind'] {
  if (certificate.ca) return 'ca';
  if (hasIdentity) return 'node';
  const usages = certificate.keyUsage;
  if (usages.length !== 1) return 'other';
  if (usages[0] === x509.ExtendedKeyUsage.clientAuth) return 'operator';
  return usages[0] === x509.ExtendedKeyUsage.serverAuth ? 'admin' : 'other';
}

function organisation(certificate: NodeCertificate): string | null {
  return /^O=(.+)$/m.exec(certificate.subject)?.[1] ?? null;
}

async function keyProblems(
  path: string,
  text: string,
  certificate: NodeCertificate,
): Promise<readonly string[]> {
  const problems: string[] = [];
  try {
    if (!certificate.checkPrivateKey(createPrivateKey(text))) {
      problems.push('the private key beside it belongs to another certificate');
    }
  } catch {
    problems.push('the private key beside it cannot be read'); // Not PEM, or of another kind.
  }
  const { mode } = await stat(path);
  if ((mode & 0o077) !== 0) problems.push('others may read its private key; chmod 600 it');
  return problems;
}

function unreadable(file: string): CertFile {
  return {
    file,
    keyFile: null,
    kind: 'other',
    cluster: null,
    region: null,
    node: null,
    notBefore: '',
    notAfter: '',
    daysLeft: 0,
    fingerprint: '',
    problems: ['it is not a certificate in PEM'],
  };
}
