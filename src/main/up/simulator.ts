/**
 * The simulator's page: `/simulator`, and the modules that it imports. A browser runs the same
 * source as the node does: types are erased as a module is read, and nothing is bundled.
 *
 * W2: only modules that the page's entry reaches by imports are served; a path is looked up in that
 * list and never becomes a file name.
 */

import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { stripTypeScriptTypes } from 'node:module';
import { join, posix } from 'node:path';

const PATH = '/simulator';
const SOURCE_PATH = `${PATH}/src/`;
const SOURCE = join(import.meta.dirname, '../..');
/** What the page imports, under `src/`. */
const ENTRY = 'sim/stage/stage.ts';
const IMPORT = /(?:\bfrom\s*|^import\s*)['"](\.[^'"]+)['"]/gm;

/** Makes the handler of the simulator's paths; false for all others. Files are read when asked for. */
export function createSimulatorPages(
  policyOf: (page: string) => string,
): (path: string, request: IncomingMessage, response: ServerResponse) => boolean {
  let modules: ReadonlyMap<string, Buffer> | null = null;
  return (path, request, response) => {
    if (path === PATH) {
      const page = readFileSync(join(import.meta.dirname, 'simulator.html'));
      send(request, response, page, {
        'content-type': 'text/html; charset=utf-8',
        'content-security-policy': policyOf(page.toString('utf8')),
        'x-frame-options': 'DENY',
        'referrer-policy': 'no-referrer',
        'cross-origin-opener-policy': 'same-origin',
      });
      return true;
    }
    if (!path.startsWith(SOURCE_PATH)) return false;
    modules ??= collectModules(ENTRY, (name) => readFileSync(join(SOURCE, name), 'utf8'));
    const module = modules.get(path.slice(SOURCE_PATH.length));
    if (module === undefined) return false;
    send(request, response, module, { 'content-type': 'text/javascript; charset=utf-8' });
    return true;
  };
}

/** Every module that `entry` reaches by imports, as JavaScript. */
export function collectModules(
  entry: string,
  read: (name: string) => string,
): ReadonlyMap<string, Buffer> {
  const modules = new Map<string, Buffer>();
  const waiting = [entry];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (modules.has(name)) continue;
    const script = stripTypeScriptTypes(read(name));
    modules.set(name, Buffer.from(script));
    for (const [, specifier = ''] of script.matchAll(IMPORT)) {
      waiting.push(posix.join(posix.dirname(name), specifier));
    }
  }
  return modules;
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  body: Buffer,
  headers: Readonly<Record<string, string>>,
): void {
  response.writeHead(200, {
    'content-length': body.length,
    'cache-control': 'no-cache',
    'x-content-type-options': 'nosniff',
    ...headers,
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}
