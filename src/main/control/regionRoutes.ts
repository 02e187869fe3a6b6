/** The admin API of what operators say of regions: its row, and what it takes and gives. */

import { z } from 'zod';

import { LABEL } from '../../base/names.ts';
import { REGION_RECORD_LIMITS } from '../../base/regionLimits.ts';
import { named, type AdminRoutes } from '../../io/admin/route.ts';
import { DESIRED_STATES } from '../../regions/desired.ts';
import { RESIDENCY_LABEL } from '../../replica/control/regions.ts';
import { askedOfChange, CHANGE_REFUSALS, wouldBeDone } from './controlRoutes.ts';

const { weightMin, weightMax, residencyCharsMax } = REGION_RECORD_LIMITS;

const weight = z
  .int()
  .min(weightMin)
  .max(weightMax)
  .describe('others count its cost 100 / weight times');
const residency = z
  .string()
  .max(residencyCharsMax)
  .regex(RESIDENCY_LABEL, 'must be letters, digits and inner . _ -, and not "none"')
  .nullable()
  .describe('label of where its data may be; null: none');

const regionBody = named(
  'SetRegion',
  z.strictObject({
    action: z.literal('set'),
    region: z.string().regex(LABEL, 'must be the name of a region'),
    desired: z.enum(DESIRED_STATES).optional().describe('absent: as before; so are all of these'),
    weight: weight.optional(),
    residency: residency.optional(),
    force: z.boolean().default(false).describe('drain it though no other region is sure to serve'),
    ...askedOfChange,
  }),
);
export type RegionBody = z.output<typeof regionBody>;

const regionSet = named(
  'RegionSet',
  z.union([
    wouldBeDone,
    z.strictObject({
      region: z.string(),
      desired: z.enum(DESIRED_STATES),
      weight,
      residency,
      version: z.int().describe('changes of this region since the first'),
      revision: z.int(),
    }),
  ]),
);
export type RegionSet = z.output<typeof regionSet>;

export const REGION_ROUTES = {
  setRegion: {
    method: 'POST',
    path: '/admin/v1/regions',
    role: 'operator',
    summary: 'Says what is wanted of a region: active or drained, its weight, its residency',
    body: regionBody,
    answer: regionSet,
    refusals: {
      400: ['nothing_to_set'],
      404: ['no_control', 'unknown_region'],
      409: ['last_active_region', 'another_region_out', 'changed', 'newer_format'],
      ...CHANGE_REFUSALS,
    },
  },
} as const satisfies AdminRoutes;
