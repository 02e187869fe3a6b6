/** The shared configuration's part of the admin API: its rows, and the shapes that they take and give. */

import { z } from 'zod';

import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import { named, type AdminRoutes } from '../../io/admin/route.ts';
import { listOf } from '../adminTypes.ts';
import { askedOfChange, CHANGE_REFUSALS, wouldBeDone } from '../control/controlRoutes.ts';

const count = z.int().min(0);
const version = z.int().min(1);

const regionRow = z.strictObject({
  region: z.string(),
  assigned: count.describe('the version that it is to have; 0: none'),
  applied: count
    .nullable()
    .describe('the version in force there, of its nodes the oldest; null: none of them answers'),
  state: z
    .enum(['base', 'applying', 'baking', 'done', 'halted'])
    .describe('base: no roll-out has reached it'),
  refused: z.string().nullable().describe('why its version does not work there'),
  nodes: z
    .array(
      z.strictObject({
        peer: z.string().describe('its peer name: the region, for a further node REGION/NODE'),
        applied: count.nullable().describe('null: it does not answer'),
        refused: z.string().nullable(),
      }),
    )
    .readonly(),
});
export type ConfigRegionRow = z.output<typeof regionRow>;

const configAnswer = named(
  'SharedConfig',
  z
    .strictObject({
      newest: count.describe('the newest version; 0: nothing was pushed yet'),
      base: count.describe('what counts where no roll-out has come'),
      rollout: z
        .strictObject({
          version,
          bakeMs: count,
          region: z.string().nullable().describe('where it is'),
          done: z.array(z.string()).readonly(),
          halted: z.string().nullable().describe('why it does not go on; null: it does'),
          startedAt: z.string(),
        })
        .nullable(),
      items: z.array(regionRow).readonly(),
      text: z
        .string()
        .nullable()
        .describe('of the version or region that was asked for; null: none was'),
      unreachable: z.array(z.string()).readonly().describe('nodes that give no answer'),
    })
    .describe('The configuration that all regions share, and where it counts.'),
);
export type ConfigAnswer = z.output<typeof configAnswer>;

const versionRow = named(
  'ConfigVersion',
  z.strictObject({
    version,
    kind: z.enum(['push', 'rollback']),
    of: count.describe('the version whose text a rollback took; 0: of a push'),
    isEmergency: z.boolean().describe('it went to all regions at once'),
    outcome: z.enum(['rolling-out', 'everywhere', 'rolled-back', 'replaced']),
    who: z.string(),
    from: z.string(),
    why: z.string(),
    at: z.string(),
    bytes: count,
  }),
);
export type VersionRow = z.output<typeof versionRow>;

const emergency = z
  .boolean()
  .default(false)
  .describe('to all regions at once; ends a roll-out that is under way');
const configBody = named(
  'ChangeConfig',
  z.discriminatedUnion('action', [
    z.strictObject({
      action: z.literal('push'),
      text: z.string().max(SHARED_CONFIG_LIMITS.textBytesMax),
      label: z.string().max(256).default('config').describe('what problems call the text'),
      expect: count.optional().describe('refuse where the newest version is another one'),
      emergency,
      ...askedOfChange,
    }),
    z.strictObject({
      action: z.literal('rollback'),
      version: version.optional().describe('absent: ends the roll-out that is under way'),
      emergency,
      ...askedOfChange,
    }),
    z.strictObject({ action: z.literal('resume'), ...askedOfChange }),
  ]),
);
export type ConfigBody = z.output<typeof configBody>;

const configChanged = named(
  'ConfigChanged',
  z.union([
    wouldBeDone,
    z.strictObject({
      version: count.describe('the version that goes out, or counts again'),
      bakeMs: count.nullable().describe('in each region; null: it went to all at once'),
      warnings: z.array(z.string()).readonly(),
      unchecked: z
        .array(z.string())
        .readonly()
        .describe('nodes that could not be asked, by peer name'),
      revision: z.int(),
    }),
  ]),
);
export type ConfigChanged = z.output<typeof configChanged>;

const NOT_HERE = { 404: ['no_control', 'unknown_version'], 503: ['unreachable'] } as const;

export const CONFIG_ROUTES = {
  getConfig: {
    method: 'GET',
    path: '/admin/v1/config',
    role: 'viewer',
    summary: 'The configuration that all regions share, and how far it is',
    query: z.strictObject({
      version: z.coerce.number().pipe(version).optional().describe('with its text'),
      region: z.string().optional().describe('with the text that this region gets'),
    }),
    answer: configAnswer,
    refusals: { ...NOT_HERE, 404: ['no_control', 'unknown_version', 'unknown_region'] },
  },
  getConfigHistory: {
    method: 'GET',
    path: '/admin/v1/config/history',
    role: 'viewer',
    summary: 'Versions of the shared configuration, the newest first',
    answer: listOf('ConfigHistory', versionRow),
    refusals: NOT_HERE,
  },
  changeConfig: {
    method: 'POST',
    path: '/admin/v1/config',
    role: 'operator',
    summary: 'Pushes a configuration, rolls one back, or lets a halted roll-out go on',
    body: configBody,
    answer: configChanged,
    refusals: {
      400: ['invalid_config'],
      404: ['no_control', 'unknown_version'],
      409: [
        'rollout_under_way',
        'no_rollout',
        'not_halted',
        'version_conflict',
        'unchanged',
        'newer_format',
      ],
      ...CHANGE_REFUSALS,
    },
  },
} as const satisfies AdminRoutes;
