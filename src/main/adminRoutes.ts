/**
 * The admin API, `/admin/v1/...`, as one table. What is served, who may call it, what is taken and
 * what is answered, and the document (`docs/reference/openapi.json`) follow from its rows.
 *
 * To add a path: a row here (or in the table of its part, which then stands in `ADMIN_ROUTES`), its
 * schemas beside their types, and a handler where a node or the supervisor serves that table: a
 * missing one does not compile. Then `npm run generate`.
 */

import { z } from 'zod';

import { openapiDocument } from '../io/admin/openapi.ts';
import { named, type AdminRoutes } from '../io/admin/route.ts';
import {
  explainQuery,
  explanation,
  faultReply,
  faultRequest,
  modelsAnswer,
  nodesAnswer,
  regionsAnswer,
  statusAnswer,
  targetsAnswer,
} from './adminTypes.ts';
import { CONTROL_ROUTES } from './control/controlRoutes.ts';
import { CONFIG_ROUTES } from './sharedConfig/configRoutes.ts';
import { REGISTER_ROUTES } from './registers/registerRoutes.ts';
import { REGION_ROUTES } from './control/regionRoutes.ts';
import { OPS_ROUTES } from './control/opsRoutes.ts';
import { VERSION } from './version.ts';

/** What every server answers out of what it is. */
export const NODE_ROUTES = {
  getStatus: {
    method: 'GET',
    path: '/admin/v1/status',
    role: 'viewer',
    summary: 'The node, or all regions of the demo',
    answer: statusAnswer,
  },
  getRegions: {
    method: 'GET',
    path: '/admin/v1/regions',
    role: 'viewer',
    summary: 'Regions, and how they see one another',
    answer: regionsAnswer,
  },
  getNodes: {
    method: 'GET',
    path: '/admin/v1/nodes',
    role: 'viewer',
    summary: 'Nodes',
    answer: nodesAnswer,
  },
  getTargets: {
    method: 'GET',
    path: '/admin/v1/targets',
    role: 'viewer',
    summary: 'Targets, their health and their load',
    answer: targetsAnswer,
  },
  getModels: {
    method: 'GET',
    path: '/admin/v1/models',
    role: 'viewer',
    summary: 'Models and where they run',
    answer: modelsAnswer,
  },
  explainRoute: {
    method: 'GET',
    path: '/admin/v1/explain',
    role: 'viewer',
    summary: 'Where a request of a model would go now, and why',
    query: explainQuery,
    answer: explanation,
    refusals: {
      404: ['region_not_found', 'model_not_found', 'unknown_key'],
      503: ['region_unreachable'],
    },
  },
  injectFault: {
    method: 'POST',
    path: '/admin/v1/faults',
    role: 'operator',
    summary: 'Breaks or mends something, where demo.faults allows it',
    body: faultRequest,
    answer: faultReply,
    refusals: {
      403: ['faults_disabled'],
      404: ['region_not_found', 'target_not_found'],
      409: ['wrong_state'],
      503: ['region_unreachable'],
    },
  },
  getDocument: {
    method: 'GET',
    path: '/admin/v1/openapi.json',
    role: 'viewer',
    summary: 'This document',
    answer: named('OpenapiDocument', z.looseObject({ openapi: z.string() })),
  },
} as const satisfies AdminRoutes;

/** All of it. */
export const ADMIN_ROUTES = {
  ...NODE_ROUTES,
  ...CONTROL_ROUTES,
  ...CONFIG_ROUTES,
  ...REGISTER_ROUTES,
  ...OPS_ROUTES,
  ...REGION_ROUTES,
} as const satisfies AdminRoutes;

/** The OpenAPI document of the whole table. */
export function adminDocument(): ReturnType<typeof openapiDocument> {
  return openapiDocument(ADMIN_ROUTES, VERSION);
}
