/** The admin API of a node: a handler for each row of the table. */

import { err, ok } from '../base/result.ts';
import {
  refuseRoutes,
  serveRoutes,
  type AdminAnswer,
  type ServedRoute,
} from '../io/admin/route.ts';
import { adminDocument, NODE_ROUTES } from './adminRoutes.ts';
import type { FaultReply, FaultRequest } from './adminTypes.ts';
import { controlHandlers, NO_CONTROL, type KeySurroundings } from './control/controlAdmin.ts';
import type { PeersDesk } from './control/peersAdmin.ts';
import { CONTROL_ROUTES } from './control/controlRoutes.ts';
import type { ControlBackend } from './control/backend.ts';
import { configHandlers } from './sharedConfig/configAdmin.ts';
import { CONFIG_ROUTES } from './sharedConfig/configRoutes.ts';
import type { SharedConfigNode } from './sharedConfig/sharedNode.ts';
import { NO_REGISTERS, registerHandlers } from './registers/registerAdmin.ts';
import type { RegisterBackend } from './registers/registerBackend.ts';
import { REGISTER_ROUTES } from './registers/registerRoutes.ts';
import { opsHandlers, type OpsParts } from './control/opsAdmin.ts';
import { OPS_ROUTES } from './control/opsRoutes.ts';
import { regionHandlers } from './control/regionAdmin.ts';
import { REGION_ROUTES } from './control/regionRoutes.ts';
import {
  explainRoute,
  modelRows,
  nodeRows,
  nodeStatus,
  regionRows,
  targetRows,
  type NodeSources,
} from './views.ts';

/** What the handlers act on. */
export interface NodeAdminParts {
  readonly sources: NodeSources;
  /** Null: this node has only what its file says. */
  readonly control:
    | (KeySurroundings & {
        readonly side: ControlBackend;
        readonly shared: SharedConfigNode;
        readonly ops: OpsParts;
        readonly desk: PeersDesk;
        /** Null: no leases, claims and names here. */
        readonly registers: Pick<RegisterBackend, 'registers' | 'keepers'> | null;
      })
    | null;
  readonly wallMs: () => number;
  /** Null: faults are not allowed here. */
  readonly fault: ((request: FaultRequest) => AdminAnswer<FaultReply>) | null;
}

export function nodeRoutes(parts: NodeAdminParts): readonly ServedRoute[] {
  const { sources, control, wallMs, fault } = parts;
  const own = serveRoutes(NODE_ROUTES, {
    getStatus: () => ok(nodeStatus(sources)),
    getRegions: () => ok(regionRows(sources)),
    getNodes: () => ok(nodeRows(sources)),
    getTargets: () => ok(targetRows(sources)),
    getModels: () => ok(modelRows(sources)),
    explainRoute: ({ query }) => explainRoute(sources, query),
    injectFault: ({ body }) => (fault === null ? noFaults() : fault(body)),
    getDocument: () => ok(adminDocument()),
  });
  return [...own, ...controlRoutes(control, wallMs)];
}

/** What stands on the control state; refused where there is none. */
export function controlRoutes(
  control: NodeAdminParts['control'],
  wallMs: () => number,
): readonly ServedRoute[] {
  const agreed =
    control === null
      ? refuseRoutes(
          { ...CONTROL_ROUTES, ...CONFIG_ROUTES, ...OPS_ROUTES, ...REGION_ROUTES },
          NO_CONTROL,
        )
      : [
          ...serveRoutes(CONTROL_ROUTES, controlHandlers(control.desk, wallMs, control)),
          ...serveRoutes(OPS_ROUTES, opsHandlers(control.ops)),
          ...serveRoutes(
            REGION_ROUTES,
            regionHandlers({ backend: control.side, shared: control.shared }),
          ),
          ...serveRoutes(
            CONFIG_ROUTES,
            configHandlers({ backend: control.side, shared: control.shared, wallMs }),
          ),
        ];
  const store = control?.registers ?? null;
  const claimed =
    control === null || store === null
      ? refuseRoutes(REGISTER_ROUTES, control === null ? NO_CONTROL : NO_REGISTERS)
      : serveRoutes(REGISTER_ROUTES, registerHandlers(store, control.side.engine));
  return [...agreed, ...claimed];
}

function noFaults(): AdminAnswer<FaultReply> {
  const message = 'Faults are not allowed here; demo.faults in the configuration allows them.';
  return err({ status: 403, code: 'faults_disabled', message });
}
