/** What `banyan up` starts: regions, ports, delays and the configuration of each node. Pure. */

import { createHash } from 'node:crypto';
import { join } from 'node:path';

import { stringify } from 'yaml';

/** The key that the demo's clients present. A demo's, hence public. */
export const DEMO_KEY = 'banyan-demo';
export const DEMO_MODEL = 'banyan-support';
export const DEMO_REGIONS = ['us-east-2', 'eu-central-1', 'ap-northeast-1'] as const;

/** What the command line chose. */
export interface UpOptions {
  readonly regions: readonly string[];
  /** The supervisor listens here; regions follow it. */
  readonly basePort: number;
  readonly dataDir: string;
  /** Of each region. */
  readonly modelServers: number;
  readonly modelFile: string;
  /** True: links between regions take as long as in the world. */
  readonly hasWan: boolean;
  /** Pace of each answer; null: full speed. */
  readonly tokensPerSecondMax: number | null;
}

/** One region of the demo. */
export interface RegionPlan {
  readonly region: string;
  readonly folder: string;
  readonly configFile: string;
  readonly apiPort: number;
  readonly adminPort: number;
  readonly peerPort: number;
}

/** The whole demo. */
export interface UpPlan extends UpOptions {
  readonly certsDir: string;
  readonly nodes: readonly RegionPlan[];
}

/**
 * Median round trips of one year between AWS regions, ms (cloudping.co, October 2025).
 * Pairs that are not here take `RTT_OTHER_MS`.
 */
const RTT_MS: Readonly<Record<string, number>> = {
  'eu-central-1 us-east-2': 104,
  'ap-northeast-1 us-east-2': 135,
  'ap-northeast-1 eu-central-1': 228,
};
const RTT_OTHER_MS = 100;

/** The round trip that the demo gives a pair of regions, ms. */
export function roundTripMs(a: string, b: string): number {
  return RTT_MS[[a, b].toSorted().join(' ')] ?? RTT_OTHER_MS;
}

/** Lays everything out. API ports follow the base port, admin ports 10 later, peers 20 later. */
export function planUp(options: UpOptions): UpPlan {
  const { basePort, dataDir } = options;
  const nodes = options.regions.map((region, index): RegionPlan => {
    const folder = join(dataDir, region);
    return {
      region,
      folder,
      configFile: join(folder, 'banyan.yaml'),
      apiPort: basePort + 1 + index,
      adminPort: basePort + 11 + index,
      peerPort: basePort + 21 + index,
    };
  });
  return { ...options, certsDir: join(dataDir, 'certs'), nodes };
}

/** Names of the model servers of a region: `llama-a`, `llama-b`, … */
export function targetNames(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `llama-${String.fromCharCode(97 + index)}`);
}

/** The text of one node's `banyan.yaml`. */
export function nodeConfigText(plan: UpPlan, node: RegionPlan): string {
  const targets = targetNames(plan.modelServers);
  const others = plan.nodes.filter(({ region }) => region !== node.region);
  const config = {
    region: node.region,
    dataDir: 'data',
    // Three regions share one machine, and what they show is the regions.
    workers: 1,
    listen: { api: `127.0.0.1:${node.apiPort}`, admin: `127.0.0.1:${node.adminPort}` },
    ...(others.length === 0 ? {} : { peers: peersConfig(plan, node, others) }),
    control: { registers: {} },
    keys: [{ name: 'demo', sha256: createHash('sha256').update(DEMO_KEY).digest('hex') }],
    targets: targets.map((name) => ({
      kind: 'llama',
      name,
      modelFile: plan.modelFile,
      ...(plan.tokensPerSecondMax === null ? {} : { tokensPerSecondMax: plan.tokensPerSecondMax }),
    })),
    models: [
      {
        name: DEMO_MODEL,
        targets,
        // A demo's failures are watched: sick targets are seen and trusted again within seconds.
        health: { probeIntervalMs: 500, slowStartMs: 3_000, ejectBaseMs: 2_000 },
      },
    ],
    limits: { drainMs: 3_000 },
    demo: { faults: true },
  };
  const head = '# Written by "banyan up" at every start; edit a copy.\n';
  return head + stringify(config);
}

function peersConfig(plan: UpPlan, node: RegionPlan, others: readonly RegionPlan[]): object {
  const file = (name: string): string => join(plan.certsDir, name);
  return {
    cluster: 'banyan-demo',
    listen: `127.0.0.1:${node.peerPort}`,
    tls: {
      ca: file('ca.pem'),
      cert: file(`${node.region}.pem`),
      key: file(`${node.region}.key`),
    },
    regions: others.map((other) => ({
      name: other.region,
      address: `127.0.0.1:${other.peerPort}`,
      delayMs: plan.hasWan ? roundTripMs(node.region, other.region) : 0,
    })),
  };
}
