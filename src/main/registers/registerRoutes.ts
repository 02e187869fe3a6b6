/** The part of the admin API that speaks of leases, claims and names: its rows and shapes. */

import { z } from 'zod';

import { CASPAXOS_LIMITS } from '../../base/caspaxosLimits.ts';
import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import { named, type AdminRoutes } from '../../io/admin/route.ts';
import { pagesOf } from '../adminTypes.ts';
import { askedOfChange, wouldBeDone } from '../control/controlRoutes.ts';

/** Printable ASCII: one character is one byte. */
function printable(bytesMax: number) {
  return z
    .string()
    .min(1)
    .max(bytesMax)
    .regex(/^[!-~]+$/, 'must be printable ASCII, no spaces');
}

const leaseName = printable(REGISTER_LIMITS.nameBytesMax);
const jobKey = printable(REGISTER_LIMITS.nameBytesMax - 8).describe('kept as job/KEY');
const owner = printable(CASPAXOS_LIMITS.holderBytesMax);
const about = z
  .string()
  .max(CASPAXOS_LIMITS.holderBytesMax)
  .regex(/^[ -~]*$/, 'must be printable ASCII')
  .default('')
  .describe('told to whoever comes later');
const place = z.array(z.int().min(0)).min(1).max(9).readonly();

const leaseRow = named(
  'Lease',
  z
    .strictObject({
      name: z.string(),
      holder: z.string().describe('the node by its peer name, and which start of its process'),
      fence: z.int().describe('its fencing number: every new holder has a higher one'),
      ttlMs: z.int(),
      isFree: z.boolean().describe('given back or freed: anyone may have it at once'),
    })
    .describe('A lease as the node that is asked has it.'),
);

const claimRow = named(
  'Claim',
  z
    .strictObject({
      key: z.string(),
      owner: z.string(),
      about: z.string(),
      result: z.string().nullable().describe('null: under way, or whoever did it is gone'),
    })
    .describe(
      'A claim as the node that is asked has it; as all have it where a key was asked for.',
    ),
);
export type ClaimRow = z.output<typeof claimRow>;

const leasesBody = named(
  'ChangeLeases',
  z.strictObject({ action: z.literal('free'), name: leaseName, ...askedOfChange }),
);
export type LeasesBody = z.output<typeof leasesBody>;
const leasesChanged = named(
  'LeasesChanged',
  z.union([wouldBeDone, z.strictObject({ name: z.string(), wasHeld: z.boolean() })]),
);
export type LeasesChanged = z.output<typeof leasesChanged>;

const claimsBody = named(
  'ChangeClaims',
  z.discriminatedUnion('action', [
    z.strictObject({ action: z.literal('claim'), key: jobKey, owner, about }),
    z.strictObject({
      action: z.literal('settle'),
      key: jobKey,
      owner,
      about,
      place,
      result: z
        .string()
        .max(REGISTER_LIMITS.resultBytesMax)
        .regex(/^[ -~]*$/, 'must be printable ASCII'),
    }),
    z.strictObject({ action: z.literal('release'), key: jobKey, owner, about, place }),
  ]),
);
export type ClaimsBody = z.output<typeof claimsBody>;
const claimsChanged = named(
  'ClaimsChanged',
  z.union([
    z.strictObject({ won: z.literal(true), place: place.describe('for settle and release') }),
    z.strictObject({ won: z.literal(false), claim: claimRow }),
    z.strictObject({ done: z.literal(true) }),
  ]),
);
export type ClaimsChanged = z.output<typeof claimsChanged>;

const namesBody = named(
  'ChangeNames',
  z.strictObject({ action: z.enum(['take', 'give']), name: leaseName, owner }),
);
export type NamesBody = z.output<typeof namesBody>;
const nameAnswer = named(
  'Name',
  z.strictObject({ name: z.string(), owner: z.string().nullable().describe('null: it is free') }),
);
export type NameRow = z.output<typeof nameAnswer>;

const pageQuery = {
  after: z
    .string()
    .max(REGISTER_LIMITS.nameBytesMax)
    .regex(/^[ -~]*$/, 'must be printable ASCII')
    .default('')
    .describe('rows whose names come after this one: "next" of the page before'),
  limit: z.coerce
    .number()
    .pipe(z.int().min(1).max(REGISTER_LIMITS.rowsMax))
    .default(REGISTER_LIMITS.rowsMax)
    .describe('rows of a page at most'),
};

const NOT_HERE = {
  404: ['no_control', 'no_registers'],
  409: ['not_kept_here'],
  503: ['unreachable'],
} as const;
const ASKED = {
  404: ['no_control', 'no_registers'],
  409: ['not_yours'],
  503: ['no_quorum', 'no_room', 'unreachable'],
  504: ['outcome_unknown'],
} as const;

export const REGISTER_ROUTES = {
  getLeases: {
    method: 'GET',
    path: '/admin/v1/leases',
    role: 'viewer',
    summary: 'Leases: who holds what, under which fencing number',
    query: z.strictObject(pageQuery),
    answer: pagesOf('Leases', leaseRow),
    refusals: NOT_HERE,
  },
  getClaims: {
    method: 'GET',
    path: '/admin/v1/claims',
    role: 'viewer',
    summary: 'Claims: whose work it is, and what it came to',
    query: z.strictObject({
      key: z
        .string()
        .min(1)
        .max(REGISTER_LIMITS.nameBytesMax)
        .regex(/^[ -~]+$/, 'must be printable ASCII')
        .optional()
        .describe('this one alone, as a majority has it'),
      ...pageQuery,
    }),
    answer: pagesOf('Claims', claimRow),
    refusals: { ...ASKED, 409: ['not_kept_here', 'not_yours'] },
  },
  getName: {
    method: 'GET',
    path: '/admin/v1/names',
    role: 'viewer',
    summary: 'Who has a name',
    query: z.strictObject({ name: leaseName }),
    answer: nameAnswer,
    refusals: ASKED,
  },
  changeLeases: {
    method: 'POST',
    path: '/admin/v1/leases',
    role: 'admin',
    summary: 'Frees a lease, whoever holds it',
    body: leasesBody,
    answer: leasesChanged,
    refusals: ASKED,
  },
  changeClaims: {
    method: 'POST',
    path: '/admin/v1/claims',
    role: 'operator',
    summary: 'Claims a piece of work for one owner in all regions, settles it or gives it back',
    body: claimsBody,
    answer: claimsChanged,
    refusals: ASKED,
  },
  changeNames: {
    method: 'POST',
    path: '/admin/v1/names',
    role: 'operator',
    summary: 'Takes a unique name, or gives it back; the answer says whose it is then',
    body: namesBody,
    answer: nameAnswer,
    refusals: ASKED,
  },
} as const satisfies AdminRoutes;
