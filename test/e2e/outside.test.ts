/**
 * Requests leave a node to configured targets only. A canary listens where everything that a client
 * or a model server can write points to; nobody may ever call there.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { describe, test } from 'node:test';

import { ask, errorOf, post, questionBody, type ClientDialect } from '../support/client.ts';
import { startFakeUpstream } from '../support/fakeUpstream.ts';
import { atEnd, startNode, TEST_KEY } from '../support/node.ts';

let calls = 0;
const canary = createServer((socket) => {
  calls += 1;
  socket.destroy();
}).listen(0, '127.0.0.1');
await once(canary, 'listening');
atEnd(() => void canary.close());
const address = canary.address();
const canaryPort = typeof address === 'object' && address !== null ? address.port : 0;
const HOST = `127.0.0.1:${canaryPort}`;
const URL_THERE = `http://${HOST}/v1`;

const upstream = await startFakeUpstream('fake');
atEnd(() => upstream.close());
const DIALECTS = ['openai', 'anthropic'] as const;
const node = await startNode({
  targets: DIALECTS.map((kind) => ({
    name: kind,
    kind,
    baseUrl: `http://127.0.0.1:${upstream.port}/v1`,
  })),
  models: DIALECTS.map((kind) => ({ name: kind, targets: [kind], attemptsMax: 1 })),
  env: {
    NODE_USE_ENV_PROXY: '1',
    HTTP_PROXY: `http://${HOST}`,
    http_proxy: `http://${HOST}`,
    HTTPS_PROXY: `http://${HOST}`,
    ALL_PROXY: `http://${HOST}`,
  },
});
const apiPort = Number(new URL(node.apiUrl).port);

/** Sends bytes as they are; gives all that comes until the connection ends. */
async function raw(text: string): Promise<string> {
  const socket = connect(apiPort, '127.0.0.1');
  let got = '';
  socket.on('data', (piece: Buffer) => {
    got += piece.toString('latin1');
  });
  socket.on('error', () => {}); // `close` follows.
  socket.write(text);
  await once(socket, 'close');
  return got;
}

test('the canary sings', async () => {
  connect(canaryPort, '127.0.0.1').on('error', () => {});
  await once(canary, 'connection');
  assert.equal(calls, 1);
  calls = 0;
});

for (const status of [300, 301, 302, 303, 305, 307, 308]) {
  test(`a redirect with ${status} is not followed: an honest error`, async () => {
    const headers = [`location: ${URL_THERE}/chat/completions`, `uri: ${URL_THERE}`];
    upstream.setFault({ kind: 'status', status, headers, body: '{}' });
    for (const dialect of DIALECTS) {
      for (const model of DIALECTS) {
        for (const isStream of [true, false]) {
          const reply = await ask(node.apiUrl, { dialect, model, isStream });
          assert.equal(reply.status, 502, reply.body);
          assert.match(errorOf(reply.body)?.message ?? '', /Redirects are not followed/);
          assert.ok(!reply.body.includes(HOST), 'nobody is told where it would have gone');
          assert.equal(reply.headers.location, undefined);
        }
      }
    }
    upstream.setFault({ kind: 'none' });
    assert.equal(calls, 0);
  });
}

describe('the request line', () => {
  const body = questionBody({ dialect: 'openai', model: 'openai', isStream: false });
  const rest = (host: string): string =>
    `Host: ${host}\r\nAuthorization: Bearer ${TEST_KEY}\r\nConnection: close\r\n` +
    `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  const rows: readonly (readonly [name: string, text: string, status: number])[] = [
    ['an absolute target', `POST ${URL_THERE}/chat/completions HTTP/1.1\r\n${rest('x')}`, 400],
    ['an absolute target and its Host', `POST ${URL_THERE}/x HTTP/1.1\r\n${rest(HOST)}`, 400],
    ['CONNECT', `CONNECT ${HOST} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`, 400],
    ['a target of two slashes', `POST //${HOST}/v1/chat/completions HTTP/1.1\r\n${rest('x')}`, 404],
    ['a target with an @', `POST /@${HOST}/v1/chat/completions HTTP/1.1\r\n${rest('x')}`, 404],
    ['dots', `POST /v1/../${HOST}/chat/completions HTTP/1.1\r\n${rest('x')}`, 404],
    ['another Host', `POST /v1/chat/completions HTTP/1.1\r\n${rest(HOST)}`, 200],
    ['a query', `POST /v1/chat/completions?url=${URL_THERE} HTTP/1.1\r\n${rest('x')}`, 200],
  ];
  for (const [name, text, status] of rows) {
    test(`${name}: ${status}, and nobody calls there`, async () => {
      assert.match(await raw(text), new RegExp(`^HTTP/1\\.1 ${status} `));
      assert.equal(calls, 0);
      const seen = upstream.seen.at(-1);
      if (status !== 200) return;
      assert.equal(seen?.headers.get('host'), `127.0.0.1:${upstream.port}`);
      assert.equal(seen?.path, '/v1/chat/completions');
    });
  }
});

const FIELDS: Readonly<Record<string, string>> = {
  'x-forwarded-host': HOST,
  'x-forwarded-for': '127.0.0.1',
  'x-forwarded-proto': 'http',
  'x-forwarded-port': String(canaryPort),
  'x-forwarded-server': HOST,
  forwarded: `host=${HOST};proto=http`,
  via: `1.1 ${HOST}`,
  origin: URL_THERE,
  referer: URL_THERE,
  'x-host': HOST,
  'x-original-url': URL_THERE,
  'x-rewrite-url': URL_THERE,
  'x-http-host-override': HOST,
  'x-proxy-url': URL_THERE,
  'proxy-connection': 'keep-alive',
  'x-base-url': URL_THERE,
  'x-portkey-custom-host': URL_THERE,
  'x-litellm-api-base': URL_THERE,
  'helicone-target-url': URL_THERE,
  'helicone-openai-api-base': URL_THERE,
  'x-banyan-target': HOST,
  'x-banyan-model': URL_THERE,
  'x-banyan-region': HOST,
  'x-banyan-forwarded-by': HOST,
};

for (const dialect of DIALECTS) {
  for (const model of DIALECTS) {
    test(`${dialect} over ${model}: no field names a host, and none of them leaves`, async () => {
      const question = { dialect, model, isStream: false, headers: FIELDS };
      const reply = await ask(node.apiUrl, question);
      assert.equal(reply.status, 200, reply.body);
      const sent = upstream.seen.at(-1)?.headers;
      for (const name of Object.keys(FIELDS)) assert.equal(sent?.get(name), undefined, name);
      assert.equal(calls, 0);
    });

    test(`${dialect} over ${model}: no member of the body is fetched or obeyed`, async () => {
      const reply = await ask(node.apiUrl, {
        dialect,
        model,
        isStream: false,
        more: { ...pictures(dialect), ...MEMBERS },
      });
      // A translation may refuse what its dialect does not know; nobody fetches anything.
      assert.ok(reply.status === 200 || reply.status === 400, reply.body);
      const pictured = await ask(node.apiUrl, {
        dialect,
        model,
        isStream: false,
        more: pictures(dialect),
      });
      assert.equal(pictured.status, 200, pictured.body);
      assert.equal(calls, 0);
    });
  }
}

const MEMBERS = {
  base_url: URL_THERE,
  baseUrl: URL_THERE,
  api_base: URL_THERE,
  api_url: URL_THERE,
  url: URL_THERE,
  host: HOST,
  endpoint: URL_THERE,
  proxy: URL_THERE,
  webhook: URL_THERE,
  extra_headers: { host: HOST },
  metadata: { base_url: URL_THERE },
};

/** A question with pictures and documents by URL. */
function pictures(dialect: ClientDialect): object {
  const url = `${URL_THERE}/picture.png`;
  const text = { type: 'text', text: `Look at ${url}` };
  const part =
    dialect === 'openai'
      ? { type: 'image_url', image_url: { url } }
      : { type: 'image', source: { type: 'url', url } };
  return { messages: [{ role: 'user', content: [text, part] }] };
}

for (const model of [URL_THERE, `openai@${HOST}`, `../${HOST}/x`, `openai\r\nHost: ${HOST}`]) {
  test(`the model ${JSON.stringify(model.replace(HOST, 'HOST'))} is no address`, async () => {
    const body = questionBody({ dialect: 'openai', model, isStream: false });
    const reply = await post(`${node.apiUrl}/v1/chat/completions`, body);
    assert.ok(reply.status === 404 || reply.status === 400, reply.body);
    assert.equal(calls, 0);
  });
}

test('fallbacks and models of the request are names of the configuration too', async () => {
  const more = { models: [URL_THERE, 'openai'], fallbacks: [URL_THERE] };
  upstream.queueFaults([{ kind: 'status', status: 500 }]);
  const reply = await ask(node.apiUrl, {
    dialect: 'openai',
    model: 'openai',
    isStream: false,
    more,
  });
  assert.equal(reply.status, 502, reply.body);
  assert.equal(calls, 0);
});
