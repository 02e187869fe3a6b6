/**
 * `banyan witness`: the third place of a group of two regions. It votes, keeps the log and answers
 * operators; it has no public listener, no models, and sends away what regions forward.
 */

import { makeFolderDurably } from './durableFile.ts';
import type { ClientEvents } from '../base/ports.ts';
import { refuseRoutes, type AdminRefusal } from '../io/admin/route.ts';
import { createLog, type LogOwner } from '../io/observe/log.ts';
import { createMetrics } from '../io/observe/metrics.ts';
import { controlRoutes } from './adminHandlers.ts';
import { NODE_ROUTES } from './adminRoutes.ts';
import { openAdminSide } from './adminSide.ts';
import { renderAddress } from './config/address.ts';
import type { LoadedConfig } from './config/build.ts';
import { loadConfig } from './config/load.ts';
import { renderProblems } from './config/render.ts';
import { openControl, type ControlNode } from './control/controlNode.ts';
import { dieOnBugs } from './dieOnBugs.ts';
import { CliError, EXIT } from './exitCodes.ts';
import type { Closable, PeerSide, Platform } from './platform.ts';
import { reloadTls } from './nodeParts.ts';
import { createPlatform } from './serve.ts';
import { note, say } from './verb.ts';
import { VERSION } from './version.ts';

const SERVES_NOTHING: AdminRefusal = {
  status: 404,
  code: 'witness',
  message: 'This is a witness: it has no models and serves no requests.',
};
const NO_EVENTS: ClientEvents = { onGone: () => {}, onDrain: () => {} };

/** Runs a witness until a signal stops it. Throws `CliError` where it cannot start. */
export async function witness(file: string): Promise<void> {
  const config = await witnessConfig(file);
  const { region, node } = config.node(new Map());
  const log = createLog(config.shell.logLevel, { region, node }, { fd: 1 });
  dieOnBugs(log);
  await makeFolderDurably(config.shell.dataDir);
  const open: Closable[] = [];
  const closeAll = async (): Promise<void> => {
    for (let part = open.pop(); part !== undefined; part = open.pop()) await part.close();
  };
  try {
    await start(config, createPlatform(), log, open);
  } catch (cause) {
    await closeAll();
    log.flush();
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CliError(EXIT.failed, say('serve.failed', { why }), cause);
  }
  const signal = await new Promise<NodeJS.Signals>((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
  });
  log.info('stopping', { signal });
  await closeAll();
  log.info('stopped');
  log.flush();
  process.exit(EXIT.ok);
}

/** The same file as that of a node, with other regions and our own group. */
async function witnessConfig(file: string): Promise<LoadedConfig> {
  const parsed = await loadConfig(file, process.env);
  if (!parsed.ok) {
    note(renderProblems(file, parsed.error).trimEnd());
    throw new CliError(EXIT.usage, say('config.bad', { count: parsed.error.length }));
  }
  const { config } = parsed.value;
  const { peers, control } = config.shell;
  if (peers === null || control === null) throw new CliError(EXIT.usage, say('witness.needs'));
  if (control.etcd !== null) throw new CliError(EXIT.refused, say('witness.etcd'));
  return config;
}

async function start(
  config: LoadedConfig,
  platform: Platform,
  log: LogOwner,
  open: Closable[],
): Promise<void> {
  const { control, links } = await openMember(config, platform, log, open);
  const { admin, peers } = config.shell;
  const { clock } = platform;
  const { region, node } = config.node(new Map());
  const metrics = createMetrics({ version: VERSION, nodeVersion: process.version, region, node });
  metrics.addGauges(() => control.gauges());
  const side =
    admin === null
      ? null
      : await openAdminSide({
          shell: admin,
          views: {
            isReady: () => true,
            metrics: () => metrics.render(),
            warnings: () => control.warnings(),
          },
          routes: [
            ...refuseRoutes(NODE_ROUTES, SERVES_NOTHING),
            ...controlRoutes(control, () => clock.wallMs()),
          ],
          access: () => ({
            ...admin.access,
            keys: [...admin.access.keys, ...control.adminKeys],
          }),
          nowMs: () => clock.nowMs(),
          log,
          onRefused: (code) => metrics.httpRefused(`admin_${code}`),
        });
  if (side !== null) open.push(side);
  process.on('SIGHUP', () => {
    void reloadTls([side, links]).then((why) => {
      if (why !== null) log.error('tls-refused', { why });
    });
  });
  const listens =
    peers === null ? null : renderAddress({ host: peers.listen.host, port: links.port });
  log.info('ready', { version: VERSION, admin: side?.url ?? null, peers: listens });
}

/** Links and the member of the group. */
async function openMember(
  config: LoadedConfig,
  platform: Platform,
  log: LogOwner,
  open: Closable[],
): Promise<{ readonly control: ControlNode; readonly links: PeerSide }> {
  const { peers, control, dataDir } = config.shell;
  if (peers === null || control === null) throw new Error('witnessConfig() looks');
  const { clock, timers } = platform;
  const own = config.node(new Map());
  const { region } = own;
  let member: ControlNode | null = null;
  // Who serves nothing uses no more than any share.
  const takesAll = () => {
    member?.inForce(own);
    member?.settled();
  };
  const links: PeerSide = await platform.openPeers({
    shell: peers,
    config: own,
    handler: {
      handle: (request, reply) => {
        const events = member?.handle(request, reply) ?? null;
        if (events === null) reply.abort();
        return events ?? NO_EVENTS;
      },
    },
    serving: () => null,
    inFlight: () => 0,
    isReady: () => true,
    onLink: (other, isUp) => member?.linkChanged(other, isUp),
    onLost: () => {},
    log,
  });
  open.push(links);
  member = await openControl({
    shell: { ...control, isWitness: true },
    dataDir,
    region,
    name: config.shell.peer,
    label: own.node,
    peers: {
      cluster: peers.cluster,
      listed: peers.regions,
      links,
    },
    clock,
    timers,
    log,
    onChanged: () => takesAll(),
    // A shared configuration is nothing to a witness: every one is fine, none is used.
    host: {
      apply: () => Promise.resolve(null),
      check: () => Promise.resolve([]),
      counts: () => Promise.resolve({ requests: 0, errors: 0 }),
      out: () => [],
    },
  });
  open.push(member);
  await member.open();
  takesAll();
  return { control: member, links };
}
