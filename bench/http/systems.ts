/**
 * The systems under test: how each is configured and started. All stand before the same two
 * upstream ports, with keep-alive to them, one worker, and no log to a disk.
 */

import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';

import { findDebian, findLitellm, findPortkey, type Found, type Say } from './install.ts';
import { start, stop, tailOf, type Running } from './processes.ts';

export const SYSTEM_NAMES = ['banyan', 'nginx', 'haproxy', 'portkey', 'litellm'] as const;
export type SystemName = (typeof SYSTEM_NAMES)[number];

const KEY = 'bench-key';
/** As short as LiteLLM may be on its best day, and long enough for it on its worst. */
const READY_MS = 60_000;
const READY_POLL_MS = 50;

/** What a start needs to know. */
export interface StartPlan {
  readonly cores: readonly number[];
  readonly upstreamPorts: readonly number[];
  /** nginx passes streams on unbuffered; its default for plain answers is to buffer. */
  readonly isStreaming: boolean;
  /** Banyan only; 1 elsewhere. */
  readonly workers: number;
}

/** A system that is there. */
export interface System {
  readonly name: SystemName;
  readonly version: string;
  /** Header lines that its clients send. */
  readonly headers: (plan: StartPlan) => readonly string[];
  readonly path: string;
  /** Answers pass through byte for byte; else only the text is compared. */
  readonly isExact: boolean;
  readonly launch: (plan: StartPlan, place: Place) => Running;
}

/** Where a system keeps its files and listens. */
interface Place {
  readonly folder: string;
  readonly port: number;
  readonly adminPort: number;
  readonly logPath: string;
}

/** A system that serves. */
export interface Started {
  readonly system: System;
  readonly pid: number;
  readonly port: number;
  readonly headers: readonly string[];
  readonly end: () => Promise<void>;
}

/** What finding the systems needs. */
export interface Finder {
  readonly root: string;
  readonly cache: string;
  /** Arguments of Node before Banyan's, e.g. `--cpu-prof`. */
  readonly nodeArgs: readonly string[];
  readonly say: Say;
}

/** The system, or why it is skipped. */
export function findSystem(name: SystemName, finder: Finder): System | { readonly reason: string } {
  const { cache, say } = finder;
  switch (name) {
    case 'banyan':
      return banyan(finder);
    case 'nginx':
      return orReason(findDebian('nginx', '-v', say), nginx);
    case 'haproxy':
      return orReason(findDebian('haproxy', '-v', say), haproxy);
    case 'portkey':
      return orReason(findPortkey(cache, say), portkey);
    case 'litellm':
      return orReason(findLitellm(cache, say), litellm);
  }
}

function orReason(
  found: Found,
  make: (path: string, version: string) => System,
): System | { readonly reason: string } {
  return found.ok ? make(found.path, found.version) : { reason: found.reason };
}

/** Starts it and waits until it answers `body` with 200. */
export async function startSystem(
  system: System,
  plan: StartPlan,
  cache: string,
  body: string,
): Promise<Started> {
  const folder = join(cache, 'run', system.name);
  mkdirSync(folder, { recursive: true });
  const [port, adminPort] = [await freePort(), await freePort()];
  const logPath = join(folder, 'output.log');
  const running = system.launch(plan, { folder, port, adminPort, logPath });
  const headers = system.headers(plan);
  const started = { system, pid: running.pid, port, headers, end: () => stop(running) };
  const untilMs = performance.now() + READY_MS;
  let seen = 'no answer';
  while (performance.now() < untilMs && !running.hasExited()) {
    const answer = await ask(port, system.path, headers, body);
    if (answer.status === 200) return started;
    seen = answer.status === 0 ? seen : `status ${answer.status}: ${answer.text.slice(0, 200)}`;
    await new Promise((resolve) => setTimeout(resolve, READY_POLL_MS));
  }
  await stop(running);
  throw new Error(`${system.name} does not serve (${seen}): ${tailOf(logPath)}`);
}

/** One request through `fetch`; status 0: it could not be sent. */
export async function ask(
  port: number,
  path: string,
  headers: readonly string[],
  body: string,
): Promise<{ readonly status: number; readonly text: string }> {
  const pairs = headers.map((line): [string, string] => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  });
  try {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method: 'POST',
      headers: [['content-type', 'application/json'], ...pairs],
      body,
      signal: AbortSignal.timeout(10_000),
    });
    return { status: response.status, text: await response.text() };
  } catch (cause) {
    return { status: 0, text: String(cause) };
  }
}

/** A port of the loopback that nobody has now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = address !== null && typeof address === 'object' ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

const CHAT = '/v1/chat/completions';
const bearer = (): readonly string[] => [`Authorization: Bearer ${KEY}`];

/** Everything on as in production: a key with both limits, two targets, metrics, a log line each. */
function banyan({ root, nodeArgs }: Finder): System {
  const sha256 = createHash('sha256').update(KEY).digest('hex');
  const rates = 'requestsPerMinute: 1000000000, tokensPerMinute: 1000000000';
  return {
    name: 'banyan',
    version: 'this commit',
    headers: bearer,
    path: CHAT,
    isExact: true,
    launch({ cores, upstreamPorts, workers }, { folder, port, adminPort, logPath }) {
      const config = [
        'region: us-east-2',
        `listen: { api: '127.0.0.1:${port}', admin: '127.0.0.1:${adminPort}' }`,
        `keys: [{ name: bench, sha256: ${sha256}, models: ['*'], ${rates} }]`,
        'targets:',
        ...upstreamPorts.map(
          (upstream, index) =>
            `  - { name: target-${index}, kind: openai, baseUrl: 'http://127.0.0.1:${upstream}/v1' }`,
        ),
        'models:',
        '  - name: bench',
        '    targets:',
        ...upstreamPorts.map(
          (_, index) => `      - { target: target-${index}, model: bench-model }`,
        ),
        `workers: ${workers}`,
      ];
      const path = join(folder, 'banyan.yaml');
      writeFileSync(path, `${config.join('\n')}\n`);
      const cli = join(root, 'src', 'main', 'cli.ts');
      const quiet = '--disable-warning=ExperimentalWarning';
      const args = [quiet, ...nodeArgs, cli, 'serve', '--config', path];
      // Its log, one line a request, is written in full and goes to /dev/null.
      const file = process.execPath;
      return start({ file, args, cores, cwd: folder, logPath, dropsStdout: true });
    },
  };
}

function nginx(path: string, version: string): System {
  return {
    name: 'nginx',
    version,
    headers: bearer,
    path: CHAT,
    isExact: true,
    launch({ cores, upstreamPorts, isStreaming }, { folder, port, logPath }) {
      const servers = upstreamPorts.map((upstream) => `server 127.0.0.1:${upstream};`).join(' ');
      const config = `
        worker_processes 1; daemon off; pid ${folder}/nginx.pid; error_log stderr error;
        worker_rlimit_nofile 20000;
        events { worker_connections 16384; }
        http {
          access_log off; keepalive_requests 1000000000; client_max_body_size 32m;
          client_body_buffer_size 128k; client_body_temp_path ${folder}/body;
          proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/fastcgi;
          uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
          upstream targets { ${servers} keepalive 4096; keepalive_requests 1000000000; }
          server {
            listen 127.0.0.1:${port} backlog=4096;
            location / {
              proxy_pass http://targets; proxy_http_version 1.1; proxy_set_header Connection "";
              proxy_buffering ${isStreaming ? 'off' : 'on'};
            }
          }
        }`;
      writeFileSync(join(folder, 'nginx.conf'), config);
      const args = ['-p', folder, '-c', join(folder, 'nginx.conf')];
      return start({ file: path, args, cores, logPath });
    },
  };
}

function haproxy(path: string, version: string): System {
  return {
    name: 'haproxy',
    version,
    headers: bearer,
    path: CHAT,
    isExact: true,
    launch({ cores, upstreamPorts }, { folder, port, logPath }) {
      const servers = upstreamPorts.map((upstream, index) => {
        return `  server target-${index} 127.0.0.1:${upstream}`;
      });
      const config = [
        'global',
        '  nbthread 1',
        '  maxconn 8000',
        'defaults',
        '  mode http',
        '  option http-keep-alive',
        '  http-reuse always',
        '  timeout connect 5s',
        '  timeout client 60s',
        '  timeout server 60s',
        'frontend api',
        `  bind 127.0.0.1:${port} backlog 4096`,
        '  default_backend targets',
        'backend targets',
        '  balance roundrobin',
        ...servers,
      ];
      const file = join(folder, 'haproxy.cfg');
      writeFileSync(file, `${config.join('\n')}\n`);
      return start({ file: path, args: ['-db', '-q', '-f', file], cores, logPath });
    },
  };
}

/** Its two targets come with each request, in a header, as its users configure it. */
function portkey(path: string, version: string): System {
  return {
    name: 'portkey',
    version,
    path: CHAT,
    isExact: false,
    headers({ upstreamPorts }) {
      const targets = upstreamPorts.map((upstream) => ({
        provider: 'openai',
        api_key: 'none',
        custom_host: `http://127.0.0.1:${upstream}/v1`,
        override_params: { model: 'bench-model' },
      }));
      const config = JSON.stringify({ strategy: { mode: 'loadbalance' }, targets });
      return [...bearer(), `x-portkey-config: ${config}`];
    },
    launch({ cores }, { folder, port, logPath }) {
      const args = [path, `--port=${port}`, '--headless'];
      const env = { NODE_ENV: 'production' };
      return start({ file: process.execPath, args, cores, cwd: folder, env, logPath });
    },
  };
}

function litellm(path: string, version: string): System {
  return {
    name: 'litellm',
    version,
    headers: bearer,
    path: CHAT,
    isExact: false,
    launch({ cores, upstreamPorts }, { folder, port, logPath }) {
      const models = upstreamPorts.map((upstream) => {
        const base = `api_base: 'http://127.0.0.1:${upstream}/v1'`;
        const params = `model: openai/bench-model, api_key: none, ${base}`;
        return `  - { model_name: bench, litellm_params: { ${params} } }`;
      });
      const config = ['model_list:', ...models, `general_settings: { master_key: ${KEY} }`];
      const file = join(folder, 'litellm.yaml');
      writeFileSync(file, `${config.join('\n')}\n`);
      const args = ['--config', file, '--host', '127.0.0.1', '--port', String(port)];
      const env = { LITELLM_MODE: 'PRODUCTION', LITELLM_LOG: 'ERROR', NO_PROXY: '127.0.0.1' };
      const all = [...args, '--num_workers', '1', '--telemetry', 'False'];
      return start({ file: path, args: all, cores, cwd: folder, env, logPath });
    },
  };
}
