import 'reflect-metadata';
import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import http from 'node:https';
import { once } from 'node:events';
import { connect as connectPlain } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import { after, before, describe, test } from 'node:test';

import * as x509 from '@peculiar/x509';

import type {
  ClientEvents,
  ClientReply,
  ClientRequest,
  UpstreamFailure,
} from '../../base/ports.ts';
import { createUpstreamPool, type UpstreamPool } from './pool.ts';
import { createHttpServer, type HttpServer, type TlsIdentity } from './server.ts';

const clock = { nowMs: () => performance.now(), wallMs: () => Date.now() };
const KEY = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** A certificate authority and a way to make identities by it. */
interface Authority {
  readonly ca: string;
  issue(name: string): Promise<TlsIdentity>;
}

async function makeAuthority(): Promise<Authority> {
  x509.cryptoProvider.set(webcrypto as never);
  const dates = {
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 3_600_000),
    signingAlgorithm: KEY,
  };
  const keys = await webcrypto.subtle.generateKey(KEY, true, ['sign', 'verify']);
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    ...dates,
    serialNumber: '01',
    name: 'CN=test authority',
    keys: keys as never,
    extensions: [new x509.BasicConstraintsExtension(true, 1, true)],
  });
  let serial = 1;
  return {
    ca: ca.toString('pem'),
    async issue(name) {
      serial += 1;
      const own = await webcrypto.subtle.generateKey(KEY, true, ['sign', 'verify']);
      const cert = await x509.X509CertificateGenerator.create({
        ...dates,
        serialNumber: serial.toString(16).padStart(2, '0'),
        subject: `CN=${name}`,
        issuer: ca.subject,
        publicKey: own.publicKey as never,
        signingKey: keys.privateKey as never,
        extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: name }])],
      });
      const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', own.privateKey));
      const lines = pkcs8.toString('base64').replace(/.{64}/g, '$&\n');
      const key = `-----BEGIN PRIVATE KEY-----\n${lines}\n-----END PRIVATE KEY-----\n`;
      return { cert: cert.toString('pem'), key };
    },
  };
}

describe('TLS on both sides', () => {
  let authority: Authority;
  let server: HttpServer;
  let port = 0;
  const pools: UpstreamPool[] = [];
  let act: (request: ClientRequest, reply: ClientReply) => ClientEvents;

  before(async () => {
    authority = await makeAuthority();
    server = createHttpServer({
      clock,
      tls: await authority.issue('node.test'),
      limits: { sweepMs: 20, headerReadMs: 300 },
      handler: { handle: (request, reply) => act(request, reply) },
    });
    const bound = await server.listen('127.0.0.1', 0);
    assert.ok(bound.ok);
    ({ port } = bound.value);
  });

  after(async () => {
    for (const pool of pools) pool.close();
    await server.close(0);
  });

  const silent: ClientEvents = { onGone(): void {}, onDrain(): void {} };

  function echo(request: ClientRequest, reply: ClientReply): ClientEvents {
    reply.head(200, [], { kind: 'length', bytes: request.body.length });
    reply.end(request.body);
    return silent;
  }

  function open(ca: string | null, serverName: string | null): UpstreamPool {
    const origins = [{ origin: `https://127.0.0.1:${port}`, ca, serverName }];
    const pool = createUpstreamPool({ clock, origins });
    assert.ok(pool.ok);
    pools.push(pool.value);
    return pool.value;
  }

  function call(pool: UpstreamPool, body: string): Promise<string | UpstreamFailure> {
    return new Promise((resolve) => {
      let text = '';
      pool.start(
        {
          origin: `https://127.0.0.1:${port}`,
          method: 'POST',
          path: '/',
          headers: [],
          body: Buffer.from(body),
          connectMs: 2000,
        },
        {
          onHead(): void {},
          onBody(chunk): void {
            text += Buffer.from(chunk).toString();
          },
          onEnd: () => resolve(text),
          onFailure: resolve,
        },
      );
    });
  }

  test('a request goes there and back, large bodies too, on one connection', async () => {
    act = echo;
    const pool = open(authority.ca, 'node.test');
    assert.equal(await call(pool, 'hello'), 'hello');
    const large = 'x'.repeat(2_000_000);
    assert.equal(await call(pool, large), large);
    assert.equal(pool.stats()[0]?.opened, 1);
  });

  const refusedBy: readonly (readonly [name: string, hasCa: boolean, serverName: string | null])[] =
    [
      ['an unknown authority', false, 'node.test'],
      ['a name that is not in the certificate', true, 'other.test'],
      ['an address that is not in the certificate', true, null],
    ];
  for (const [name, hasCa, serverName] of refusedBy) {
    test(`${name} fails as tls, and nothing is sent`, async () => {
      act = (): ClientEvents => assert.fail();
      const failure = await call(open(hasCa ? authority.ca : null, serverName), 'secret');
      assert.ok(typeof failure !== 'string');
      assert.deepEqual([failure.kind, failure.bytesSent], ['tls', 0], failure.detail);
    });
  }

  test('a stream that is cut is seen as cut', async () => {
    act = (_request, reply): ClientEvents => {
      reply.head(200, [], { kind: 'stream' });
      reply.write(Buffer.from('part'));
      setTimeout(() => reply.abort(), 10);
      return silent;
    };
    const failure = await call(open(authority.ca, 'node.test'), '');
    assert.ok(typeof failure !== 'string');
    assert.equal(failure.kind, 'truncated');

    const options = { port, host: '127.0.0.1', ca: authority.ca, servername: 'node.test' };
    const [response] = (await once(http.get(options), 'response')) as [
      import('node:http').IncomingMessage,
    ];
    response.resume();
    const [cause] = (await once(response, 'error')) as [Error];
    assert.match(cause.message, /aborted/);
  });

  test('a client that leaves is heard of', async () => {
    const gone = new Promise<void>((resolve) => {
      act = (): ClientEvents => ({ onGone: resolve, onDrain(): void {} });
    });
    const socket = connect({ port, host: '127.0.0.1', ca: authority.ca, servername: 'node.test' });
    socket.on('error', () => {});
    await once(socket, 'secureConnect');
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    setTimeout(() => socket.destroy(), 30);
    await gone;
  });

  test('a slow reader over TLS holds its writer back', async () => {
    let written = 0;
    let isDrained: () => void = () => {};
    act = (_request, reply): ClientEvents => {
      reply.head(200, [], { kind: 'stream' });
      const fill = (): void => {
        while (written < 30_000_000) {
          written += 50_000;
          if (!reply.write(Buffer.alloc(50_000))) return;
        }
        reply.end();
        isDrained();
      };
      fill();
      return { onGone(): void {}, onDrain: fill };
    };
    const socket = connect({ port, host: '127.0.0.1', ca: authority.ca, servername: 'node.test' });
    await once(socket, 'secureConnect');
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    socket.pause();
    await new Promise((resolve) => setTimeout(resolve, 150));
    assert.ok(written < 16_000_000, `${written} bytes were taken`);
    const done = new Promise<void>((resolve) => {
      isDrained = resolve;
    });
    socket.resume();
    await done;
    socket.destroy();
  });

  test('a handshake that does not come is dropped', async () => {
    const before = server.stats().tlsFailures;
    const socket = connectPlain({ port, host: '127.0.0.1' });
    socket.resume();
    await once(socket, 'close');
    assert.equal(server.stats().tlsFailures, before + 1);
  });

  test('plain HTTP to the TLS port fails and is counted', async () => {
    const before = server.stats().tlsFailures;
    const socket = connectPlain({ port, host: '127.0.0.1' });
    socket.on('error', () => {});
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(socket, 'close').catch(() => {});
    assert.equal(server.stats().tlsFailures, before + 1);
  });

  test('another certificate serves new connections; a broken one is refused', async () => {
    act = echo;
    const wrong = server.reloadTls({ cert: 'no', key: 'no' });
    assert.equal(wrong.ok, false);
    assert.ok(server.reloadTls(await authority.issue('renewed.test')).ok);
    assert.equal(await call(open(authority.ca, 'renewed.test'), 'new'), 'new');
    const socket: TLSSocket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    assert.equal(socket.getPeerCertificate().subject.CN, 'renewed.test');
    socket.destroy();
  });
});
