/**
 * The shape of the configuration that all regions share: the parts of `banyan.yaml` that are the same
 * everywhere, what differs in a region, and how a change goes out. Entries are only told apart here:
 * they are checked with a node's own file, by the schema of that file.
 */

import { z } from 'zod';

import { CONFIG_LIMITS } from '../../base/limits.ts';
import { LABEL } from '../../base/names.ts';
import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import { mapping } from './schemaParts.ts';

const entries = (most: number) =>
  z
    .array(z.looseObject({ name: z.string() }))
    .max(most)
    .default([]);
const parts = {
  targets: entries(CONFIG_LIMITS.targetsMax),
  models: entries(CONFIG_LIMITS.modelsMax),
  limits: z.looseObject({}).default({}),
  retryBudgetPercent: z.unknown().optional(),
};
const region = z
  .string()
  .regex(LABEL, 'must be 1 to 63 lower-case letters, digits and inner hyphens');

/** A whole shared configuration. */
export const sharedSchema = mapping({
  ...parts,
  keys: entries(CONFIG_LIMITS.keysMax),
  rollout: mapping({
    bakeMs: z.int().min(0).max(SHARED_CONFIG_LIMITS.bakeMsMax).default(SHARED_CONFIG_LIMITS.bakeMs),
    order: z.array(region).max(SHARED_CONFIG_LIMITS.regionsMax).default([]),
  }).prefault({}),
  regions: z.record(region, mapping(parts)).default({}),
});
