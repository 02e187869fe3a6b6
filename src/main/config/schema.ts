/**
 * The shape of `banyan.yaml`, once: it checks files, gives the types of what was read, and is
 * published as `docs/reference/config.schema.json`. What one field alone cannot tell (names that
 * must exist, addresses that must differ) is in `crossCheck.ts`.
 */

import { z } from 'zod';

import { ADMIN_LIMITS } from '../../base/adminLimits.ts';
import { ROLES } from '../../base/adminRoles.ts';
import {
  ADMISSION_LIMITS,
  CONFIG_LIMITS,
  EXCHANGE_LIMITS,
  HTTP_LIMITS,
} from '../../base/limits.ts';
import { REGION_RECORD_LIMITS } from '../../base/regionLimits.ts';
import { TRACE_LIMITS } from '../../base/traceLimits.ts';
import { WORKER_LIMITS } from '../../base/workerLimits.ts';
import { FREE_NAME, LABEL, parseModelName, parseRegionName } from '../../base/names.ts';
import { parseTargetName } from '../../base/names.ts';
import { RESIDENCY_LABEL } from '../../replica/control/regions.ts';
import { PRIORITIES } from '../../routing/admission.ts';
import { STALL_DEFAULTS } from '../../exchange/stall.ts';
import { HEALTH_DEFAULTS } from '../../routing/health.ts';
import type { AlgorithmName } from '../../routing/spec.ts';
import { parseAddress } from './address.ts';
import { control } from './controlSchema.ts';
import { baseUrl, mapping, text, whole } from './schemaParts.ts';

const regionName = z
  .string()
  .regex(LABEL, 'must be 1 to 63 lower-case letters, digits and inner hyphens')
  .transform((name) => {
    const parsed = parseRegionName(name);
    return parsed.ok ? parsed.value : z.NEVER;
  });
const label = z
  .string()
  .regex(LABEL, 'must be 1 to 63 lower-case letters, digits and inner hyphens');
const targetName = label.transform((name) => {
  const parsed = parseTargetName(name);
  return parsed.ok ? parsed.value : z.NEVER;
});
const modelName = z
  .string()
  .regex(FREE_NAME, 'must be 1 to 128 letters, digits and inner / . _ : @ + -')
  .transform((name) => {
    const parsed = parseModelName(name);
    return parsed.ok ? parsed.value : z.NEVER;
  });

const address = z
  .string()
  .max(300)
  .transform((value, context) => {
    const parsed = parseAddress(value);
    if (parsed.ok) return parsed.value;
    context.issues.push({ code: 'custom', message: 'must be HOST:PORT', input: value });
    return z.NEVER;
  });

const percent = z.number().min(0).max(100);
const deadlineMs = whole(1, EXCHANGE_LIMITS.deadlineMsMax);

const HEADER_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const headers = z
  .record(
    z.string().regex(HEADER_NAME, 'is not a header name'),
    z.string().max(CONFIG_LIMITS.textCharsMax).regex(HEADER_VALUE, 'is not a header value'),
  )
  .refine((map) => Object.keys(map).length <= CONFIG_LIMITS.headersPerTargetMax, {
    message: `must hold at most ${CONFIG_LIMITS.headersPerTargetMax} fields`,
  });

const path = z
  .string()
  .max(1_024)
  .regex(/^\/[\x21-\x7e]*$/, 'must be a path that begins with /');

const tlsFiles = mapping({
  cert: text().describe('PEM file: the certificate, then its intermediates'),
  key: text().describe('PEM file: the private key'),
});

const listen = mapping({
  api: address.prefault('127.0.0.1:8080').describe('the public API'),
  admin: z
    .union([z.literal('off'), address])
    .prefault('127.0.0.1:9090')
    .describe(
      'health, metrics and the admin API; elsewhere than on the loopback it needs admin; "off": none',
    ),
  tls: tlsFiles.optional().describe('serve the public API over TLS'),
});

const peers = mapping({
  cluster: label.default('banyan').describe('the same in all regions; others are refused'),
  listen: address.describe('where the other regions connect'),
  tls: mapping({
    ca: text().describe('PEM file: the CA that signed all nodes; "banyan certs init" makes it'),
    cert: text().describe("PEM file: this node's certificate"),
    key: text().describe("PEM file: this node's private key"),
  }),
  regions: z
    .array(
      mapping({
        name: regionName,
        node: label
          .optional()
          .describe("a further node of that region, by its own file's node; absent: the first one"),
        address: address.describe('HOST:PORT of its peer listener'),
        delayMs: z
          .number()
          .min(0)
          .max(10_000)
          .default(0)
          .describe('artificial round trip of the link, for demos and tests'),
      }),
    )
    .max(CONFIG_LIMITS.peersMax)
    .describe('all other nodes: the first ones, and each further one with its node'),
});

const sha256 = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'must be 64 lower-case hex digits; "banyan keys hash" makes them')
  .optional()
  .describe('SHA-256 of the key; give this or key');

const role = z
  .enum(ROLES)
  .describe('viewer reads; operator changes keys and moves work; admin does everything');
/** One entry of `admin.keys`. */
export const adminKeySchema = mapping({
  name: label.describe('for people: the audit log speaks of it'),
  sha256,
  key: text().optional().describe('the key itself, only as ${NAME} from the environment'),
  role,
});
/** One entry of `admin.clients`. */
export const adminClientSchema = mapping({
  name: label.describe('for people: the audit log speaks of it'),
  match: z
    .string()
    .regex(
      /^(?:CN|DNS|URI|email):[^",\s][^",]{0,254}$/,
      'must be CN:, DNS:, URI: or email: and a name',
    )
    .describe('a name of the certificate: CN:alice, URI:spiffe://corp/ops, DNS:…, email:…'),
  role,
});
const admin = mapping({
  keys: z
    .array(adminKeySchema)
    .max(ADMIN_LIMITS.keysMax)
    .default([])
    .describe('keys of operators (Authorization: Bearer)'),
  tls: tlsFiles.optional().describe('serve the admin API over TLS'),
  clientCa: text()
    .optional()
    .describe('PEM file: the CA that signs certificates of operators; needs tls'),
  clients: z
    .array(adminClientSchema)
    .max(ADMIN_LIMITS.keysMax)
    .default([])
    .describe('operators by the certificate that they show'),
});

/** Labels that a key is bound to. */
export const residencyLabels = z
  .array(
    z
      .string()
      .max(REGION_RECORD_LIMITS.residencyCharsMax)
      .regex(RESIDENCY_LABEL, 'must be letters, digits and inner . _ -, and not "none"'),
  )
  .min(1)
  .max(REGION_RECORD_LIMITS.keyLabelsMax)
  .readonly();

const rate = whole(1, 1_000_000_000);
/** One entry of `keys`. */
export const keySchema = mapping({
  name: label.describe('for people: logs, metrics and limits speak of it'),
  sha256,
  key: text().optional().describe('the key itself, only as ${NAME} from the environment'),
  models: z
    .array(z.string().regex(/^[A-Za-z0-9/._:@+-]{0,128}\*?$/, 'must be a model, or a prefix and *'))
    .min(1)
    .max(CONFIG_LIMITS.modelsMax)
    .default(['*'])
    .describe('models that it may use; "*" all, "prefix*" all that begin so'),
  requestsPerMinute: rate.nullable().default(null).describe('absent: no limit'),
  tokensPerMinute: rate.nullable().default(null).describe('in and out; absent: no limit'),
  inFlightMax: whole(1, ADMISSION_LIMITS.inFlightPerKeyMax)
    .nullable()
    .default(null)
    .describe('requests under way; past it they get 429; absent: no limit'),
  priority: z
    .enum(PRIORITIES)
    .default('standard')
    .describe('under load lower classes are refused first; x-banyan-priority may lower it'),
  residency: residencyLabels
    .nullable()
    .default(null)
    .describe('labels of the regions that may serve it (banyan region set); absent: all may'),
});

const tls = mapping({
  ca: text().optional().describe("PEM file: trust these authorities instead of the system's"),
  serverName: text().optional().describe('checked in the certificate; absent: the host'),
})
  .optional()
  .describe('of an https address with a private certificate');

const remote = {
  name: targetName,
  baseUrl: baseUrl.describe('up to what stands before the operation, e.g. https://host/v1'),
  apiKey: text().optional().describe('only as ${NAME} from the environment'),
  headers: headers.default({}).describe('fixed header fields of every call'),
  options: z
    .record(z.string().max(64), z.union([z.string().max(1_024), z.number(), z.boolean()]))
    .default({})
    .describe('options of the provider, e.g. maxTokensField'),
  tls,
  probePath: path.optional().describe('answers 2xx when healthy; absent: no active probes'),
};
/** One entry of `targets`, by its `kind`. */
export const targetSchema = z.discriminatedUnion('kind', [
  mapping({ kind: z.literal('openai').describe('OpenAI and all compatible servers'), ...remote }),
  mapping({ kind: z.literal('anthropic').describe('Anthropic and compatible'), ...remote }),
  mapping({
    kind: z.literal('llama').describe('llama.cpp, in a child process of this node'),
    name: targetName,
    modelFile: text().describe('a GGUF file, relative to the configuration file'),
    port: whole(0, 65_535).default(0).describe('loopback port of the child; 0: a free one'),
    threads: whole(1, 256).default(1),
    sequences: whole(1, 256).default(4).describe('answers at the same time'),
    contextTokens: whole(64, 1_048_576).optional().describe("of each; absent: the model's own"),
    tokensPerSecondMax: z
      .number()
      .positive()
      .max(1_000_000)
      .optional()
      .describe('pace of each answer, so that a demo can be watched; absent: full speed'),
    options: remote.options,
  }),
]);

/** The algorithms, checked against `AlgorithmName` both ways. */
const ALGORITHMS = {
  'least-tokens': 0,
  'smooth-weighted-round-robin': 0,
  'weighted-least-connections': 0,
  'p2c-peak-ewma': 0,
  'bounded-load-consistent-hash': 0,
  'weighted-random': 0,
} as const satisfies Readonly<Record<AlgorithmName, 0>>;
const algorithm = z.enum(Object.keys(ALGORITHMS) as [AlgorithmName, ...AlgorithmName[]]);

const deadlines = mapping({
  connectMs: deadlineMs.default(EXCHANGE_LIMITS.connectMsDefault),
  firstByteMs: deadlineMs
    .default(EXCHANGE_LIMITS.firstByteMsDefault)
    .describe("from the request's last byte to the first content"),
  idleMs: deadlineMs.default(EXCHANGE_LIMITS.idleMsDefault).describe('between pieces of a stream'),
  totalMs: deadlineMs.default(EXCHANGE_LIMITS.totalMsDefault).describe('all attempts together'),
});

const hedge = mapping({
  afterMs: deadlineMs
    .optional()
    .describe(
      'the second attempt starts so long after the first; with afterPercentile: not before',
    ),
  afterPercentile: whole(50, 99)
    .optional()
    .describe("… once the first is slower than this percentile of its target's first tokens"),
  budgetPercent: z
    .number()
    .min(0.01)
    .max(100)
    .default(5)
    .describe('of streamed requests that may have a second attempt'),
});

const stall = mapping({
  belowPercent: whole(0, 90)
    .default(STALL_DEFAULTS.belowPercent)
    .describe("of the usual rate of the target's streams; 0: stalls are not watched for"),
  windowMs: whole(1_000, 24 * 3_600_000)
    .default(STALL_DEFAULTS.windowMs)
    .describe('for so long; then the answer goes on elsewhere, if it can'),
});

const healthMs = whole(0, 24 * 3_600_000);
const health = mapping({
  consecutiveFailuresMax: whole(1, 1_000).default(HEALTH_DEFAULTS.consecutiveFailuresMax),
  ejectBaseMs: healthMs.default(HEALTH_DEFAULTS.ejectBaseMs),
  ejectMaxMs: healthMs.default(HEALTH_DEFAULTS.ejectMaxMs),
  ejectedPercentMax: percent
    .default(HEALTH_DEFAULTS.ejectedPercentMax)
    .describe("of a model's targets that may be ejected at once"),
  panicPercent: percent
    .default(HEALTH_DEFAULTS.panicPercent)
    .describe('with fewer healthy targets than this all are used'),
  slowStartMs: healthMs.default(HEALTH_DEFAULTS.slowStartMs),
  probeIntervalMs: whole(100, 24 * 3_600_000).default(HEALTH_DEFAULTS.probeIntervalMs),
});

/** One way to run a model: the name of a target, or a mapping. */
const route = z.union([
  targetName,
  mapping({
    target: targetName,
    model: text().optional().describe("the model's name at the target; absent: the same"),
    weight: whole(0, 1_000).default(1).describe('0 takes no new work'),
    priority: whole(0, 1_000).default(0).describe('the lowest tier with a healthy target serves'),
    inFlightMax: whole(1, 1_000_000).nullable().default(null),
  }),
]);
/** One entry of `models`. */
export const modelSchema = mapping({
  name: modelName.describe('what clients ask for'),
  algorithm: algorithm.default('least-tokens'),
  targets: z
    .array(route)
    .max(CONFIG_LIMITS.targetsPerModelMax)
    .default([])
    .describe('where it runs in this region; empty: only in other regions'),
  fallbacks: z
    .array(modelName)
    .max(EXCHANGE_LIMITS.fallbackModelsMax)
    .default([])
    .describe('models to try, in order, when this one cannot be served'),
  deadlines: deadlines.prefault({}),
  attemptsMax: whole(1, EXCHANGE_LIMITS.attemptsMax)
    .default(EXCHANGE_LIMITS.attemptsDefault)
    .describe('for one request, the first included'),
  hedge: hedge.optional().describe('a second attempt that races a slow first token; absent: none'),
  continue: z
    .enum(['same-model', 'fallbacks', 'off'])
    .default('same-model')
    .describe('what may go on with an answer whose target dies in the middle of it'),
  stall: stall.prefault({}),
  health: health.prefault({}),
  createdSeconds: whole(0, 4_294_967_295)
    .default(1_767_225_600)
    .describe('Unix seconds that GET /v1/models shows'),
});

const limits = mapping({
  exchangesMax: whole(1, EXCHANGE_LIMITS.exchangesMax)
    .default(EXCHANGE_LIMITS.exchangesMax)
    .describe('requests under way in this node; past it they are shed, lower classes before'),
  requestBodiesBytesMax: whole(1_048_576, HTTP_LIMITS.requestBodiesBytesMax)
    .default(HTTP_LIMITS.requestBodiesBytesMax)
    .describe('bodies of requests under way together; past it they are shed the same way'),
  loopLagMsMax: whole(5, ADMISSION_LIMITS.loopLagMsMax)
    .default(ADMISSION_LIMITS.loopLagMsDefault)
    .describe('lag of the event loop that may stand; past it requests are shed by class'),
  requestBodyBytesMax: whole(1_024, HTTP_LIMITS.requestBodyBytesMax).default(
    HTTP_LIMITS.requestBodyBytesMax,
  ),
  drainMs: whole(0, CONFIG_LIMITS.drainMsMax)
    .default(CONFIG_LIMITS.drainMsDefault)
    .describe('a stop lets running requests finish within this'),
});

/** The OTLP exporter of `tracing`. */
const otlp = mapping({
  endpoint: baseUrl.describe('of the collector; /v1/traces is added; e.g. http://127.0.0.1:4318'),
  headers: headers
    .default({})
    .describe('fixed header fields of every call; credentials only as ${NAME}'),
  sampleRatio: z
    .number()
    .min(0)
    .max(1)
    .default(TRACE_LIMITS.sampleRatioDefault)
    .describe('share of the traces that begin here; of a client that sent one its flag decides'),
  serviceName: text().default('banyan').describe('service.name of all spans'),
  tls,
});

/** A whole file. */
export const configSchema = mapping({
  region: regionName.describe('the failure domain that this node is in'),
  node: label.optional().describe('its name in the region; absent: the region and -1'),
  role: z
    .enum(['first', 'further'])
    .default('first')
    .describe('the first node of its region, or one of the further ones beside it, with a node'),
  dataDir: text().default('data').describe('relative to the configuration file'),
  listen: listen.prefault({}),
  admin: admin
    .prefault({})
    .describe('who may call the admin API; without keys and clients: whoever is on this machine'),
  workers: z
    .union([z.literal('auto'), whole(1, WORKER_LIMITS.countMax)])
    .default('auto')
    .describe('processes that serve the public API, on Linux; auto: one a core, 8 at most'),
  peers: peers.optional().describe('the other nodes; absent: this one stands alone'),
  control: control
    .optional()
    .describe(
      'configuration, keys and members agreed on by all regions; absent: this file alone counts',
    ),
  keys: z.array(keySchema).max(CONFIG_LIMITS.keysMax).default([]).describe('API keys of clients'),
  targets: z.array(targetSchema).max(CONFIG_LIMITS.targetsMax).default([]),
  models: z.array(modelSchema).max(CONFIG_LIMITS.modelsMax).default([]),
  limits: limits.prefault({}),
  retryBudgetPercent: percent
    .default(10)
    .describe('of live requests that may be retries; past it failures are passed on'),
  tracing: mapping({ otlp })
    .optional()
    .describe('spans of requests, sent to a collector; absent: none'),
  log: mapping({
    level: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
  }).prefault({}),
  demo: mapping({
    faults: z.boolean().default(false).describe('lets POST /admin/v1/faults break things'),
  }).prefault({}),
});

export type ConfigFile = z.output<typeof configSchema>;
export type AdminEntry = z.output<typeof admin>;
export type AdminKeyEntry = z.output<typeof adminKeySchema>;
export type AdminClientEntry = z.output<typeof adminClientSchema>;
export type KeyEntry = z.output<typeof keySchema>;
export type TargetEntry = z.output<typeof targetSchema>;
export type ModelEntry = z.output<typeof modelSchema>;
export type OtlpEntry = z.output<typeof otlp>;

/** The JSON Schema of `banyan.yaml`, for editors. */
export function configJsonSchema(): object {
  const schema = z.toJSONSchema(configSchema, { io: 'input', unrepresentable: 'any' });
  return { title: 'banyan.yaml', description: 'The configuration of one Banyan node', ...schema };
}
