/**
 * The rows of the admin API's table, and what is made of them: routing, the role that a caller needs,
 * checked queries and bodies, and the OpenAPI document (`openapi.ts`) come from the same rows.
 *
 * R1: a handler sees only what its row's schemas took. R2: whoever has a table must give a handler
 * for each row: a missing one does not compile.
 */

import { z } from 'zod';

import type { Role } from '../../base/adminRoles.ts';
import { err, type Result } from '../../base/result.ts';

/** Why the admin API refused. */
export interface AdminRefusal {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  /** Absent: nothing is said of when to try again. */
  readonly retryAfterMs?: number;
}

/** An answer, or a refusal. */
export type AdminAnswer<T extends object = object> = Result<T, AdminRefusal>;

/** Who calls, as far as it is proven. */
export interface Caller {
  /** `key:NAME`, `cert:NAME`; `local` where nothing has to be proven. */
  readonly who: string;
  readonly role: Role;
  /** The address that it calls from. */
  readonly from: string;
  /** Its credentials as they came, for a server that passes the call on; null: none. */
  readonly authorization: string | null;
}

/** Schemas of the document, by name. Bodies and answers of rows must be among them. */
export const ADMIN_SCHEMAS = z.registry<{ readonly id: string }>();

/** Gives a schema its name in the document. */
export function named<Schema extends z.ZodType>(id: string, schema: Schema): Schema {
  ADMIN_SCHEMAS.add(schema, { id });
  return schema;
}

/** One row. */
export interface AdminRoute {
  readonly method: 'GET' | 'POST';
  readonly path: `/admin/v1/${string}`;
  /** The least role that may call it. */
  readonly role: Role;
  readonly summary: string;
  readonly query?: z.ZodObject;
  readonly body?: z.ZodType;
  readonly answer: z.ZodType<object>;
  /** Refusals of its own, beside those that every row has (`COMMON_REFUSALS`): status and codes. */
  readonly refusals?: Readonly<Record<number, readonly string[]>>;
}

/** A table: rows by name, which is the operation's id in the document. */
export type AdminRoutes = Readonly<Record<string, AdminRoute>>;

/** What a handler is called with. */
export interface AdminCall<Route extends AdminRoute = AdminRoute> {
  readonly query: Route['query'] extends z.ZodObject ? z.output<Route['query']> : null;
  readonly body: Route['body'] extends z.ZodType ? z.output<Route['body']> : null;
  readonly caller: Caller;
}

export type AdminHandler<Route extends AdminRoute> = (
  call: AdminCall<Route>,
) => AdminAnswer<z.output<Route['answer']>> | Promise<AdminAnswer<z.output<Route['answer']>>>;

/** A handler for each row (R2). */
export type AdminHandlers<Routes extends AdminRoutes> = {
  readonly [Name in keyof Routes]: AdminHandler<Routes[Name]>;
};

/** A row with its handler. */
export interface ServedRoute {
  readonly route: AdminRoute;
  /** Checks what came, and calls the handler. `body` is null where the row has none. */
  answer(query: URLSearchParams, body: unknown, caller: Caller): Promise<AdminAnswer>;
}

/** Puts handlers to a table. */
export function serveRoutes<Routes extends AdminRoutes>(
  routes: Routes,
  handlers: AdminHandlers<Routes>,
): readonly ServedRoute[] {
  return Object.entries(routes).map(([name, route]) => ({
    route,
    async answer(query, body, caller) {
      const asked = parsed(route.query, query.size === 0 ? {} : Object.fromEntries(query));
      if (!asked.ok) return asked;
      const told = parsed(route.body, body);
      if (!told.ok) return told;
      const call = { query: asked.value, body: told.value, caller };
      // The name decides the types, which the compiler cannot follow through a loop.
      return handlers[name]?.(call as AdminCall<Routes[string]>) ?? err(NOT_SERVED);
    },
  }));
}

/** The same refusal for each row: of a part that this server does not have. */
export function refuseRoutes(routes: AdminRoutes, refusal: AdminRefusal): readonly ServedRoute[] {
  return Object.values(routes).map((route) => ({
    route,
    answer: () => Promise.resolve(err(refusal)),
  }));
}

const NOT_SERVED: AdminRefusal = { status: 404, code: 'not_found', message: 'Not served here.' };

function parsed(schema: z.ZodType | undefined, value: unknown): Result<unknown, AdminRefusal> {
  if (schema === undefined) return { ok: true, value: null };
  const result = schema.safeParse(value);
  if (result.success) return { ok: true, value: result.data };
  return err({ status: 400, code: 'invalid_request', message: z.prettifyError(result.error) });
}
