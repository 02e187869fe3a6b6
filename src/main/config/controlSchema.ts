/** `control` of `banyan.yaml`: what all regions agree on, and what keeps it. */

import { z } from 'zod';

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { ETCD_LIMITS } from '../../base/etcdLimits.ts';
import { RAFT_LIMITS } from '../../base/limits.ts';
import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import { parseBaseUrl } from './address.ts';
import { mapping, text, whole } from './schemaParts.ts';

const endpoint = text().transform((value, context) => {
  const parsed = parseBaseUrl(value);
  const isBare = parsed.ok && parsed.value.pathPrefix === '' && parsed.value.query === '';
  if (isBare) return parsed.value.origin;
  context.issues.push({ code: 'custom', message: 'must be http(s)://HOST:PORT', input: value });
  return z.NEVER;
});

export const control = mapping({
  engine: z
    .enum(['raft', 'etcd'])
    .default('raft')
    .describe('what keeps it: a group of the regions themselves, or an etcd cluster'),
  endpoints: z
    .array(endpoint)
    .min(1)
    .max(ETCD_LIMITS.endpointsMax)
    .optional()
    .describe('of the etcd cluster, e.g. https://etcd-1:2379, the nearest first'),
  prefix: z
    .string()
    .max(ETCD_LIMITS.prefixCharsMax)
    .regex(/^[!-.0-~](?:[!-~]*[!-.0-~])?$/, 'must be printable and neither begin nor end with /')
    .optional()
    .describe('all keys in etcd begin so; one for each Banyan cluster; absent: banyan'),
  tls: mapping({
    ca: text().optional().describe("PEM file: trust these authorities instead of the system's"),
    cert: text().optional().describe("PEM file: this node's certificate for etcd"),
    key: text().optional().describe('PEM file: its private key'),
    serverName: text().optional().describe('checked in the certificate; absent: the host'),
  })
    .optional()
    .describe('of https endpoints of etcd'),
  username: text().optional().describe('of etcd, where it wants one'),
  password: text().optional().describe('of that user, only as ${NAME} from the environment'),
  priority: whole(0, RAFT_LIMITS.priorityMax)
    .default(1)
    .describe('regions with a higher one lead while they are well; 0 leads last'),
  isWitness: z
    .boolean()
    .default(false)
    .describe('votes and keeps the log, leads only in order to hand over: for a third place'),
  heartbeatMs: whole(10, 10_000)
    .default(CONTROL_LIMITS.heartbeatMs)
    .describe('between heartbeats; about the longest round trip'),
  electionMs: whole(50, RAFT_LIMITS.electionMsMax)
    .default(CONTROL_LIMITS.electionMs)
    .describe('without a leader for so long, or up to twice as long, another region stands'),
  registers: mapping({
    claimMs: whole(REGISTER_LIMITS.claimMsMin, REGISTER_LIMITS.claimMsMax)
      .default(REGISTER_LIMITS.claimMsDefault)
      .describe('a claim stands so long at least, and twice as long at most'),
    idempotency: z
      .boolean()
      .default(true)
      .describe('requests with Idempotency-Key run once in all regions together'),
  })
    .optional()
    .describe('leases, claims and unique names over all regions; absent: none'),
}).refine(({ heartbeatMs, electionMs }) => heartbeatMs * 2 <= electionMs, {
  path: ['electionMs'],
  message: 'must be at least twice heartbeatMs',
});
export type ControlEntry = z.output<typeof control>;
