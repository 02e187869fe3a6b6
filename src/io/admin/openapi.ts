/** The OpenAPI 3.1 document of a table of routes (spec.openapis.org/oas/v3.1.1). */

import { z } from 'zod';

import type { Role } from '../../base/adminRoles.ts';
import { assert } from '../../base/assert.ts';
import { PROBES } from './probes.ts';
import { ADMIN_SCHEMAS, type AdminRoute, type AdminRoutes } from './route.ts';

type Json = Readonly<Record<string, unknown>>;

/** A document, as far as its readers look at it. */
export interface OpenapiDocument extends Json {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Json>>>>;
}

/** What every row may be refused with, whatever it does. */
export const COMMON_REFUSALS: Readonly<Record<number, readonly string[]>> = {
  400: ['invalid_request'],
  401: ['no_credentials', 'wrong_credentials'],
  403: ['role_too_low', 'no_role'],
  421: ['wrong_host'],
  429: ['too_many_requests', 'too_many_failures'],
  500: ['internal'],
};
/** … and what those that take a body. */
export const BODY_REFUSALS: Readonly<Record<number, readonly string[]>> = {
  400: ['invalid_json'],
  403: ['wrong_origin'],
  413: ['body_too_large'],
  415: ['unsupported_media_type'],
};

const refusalSchema = z.strictObject({
  error: z.strictObject({ code: z.string(), message: z.string().describe('for people') }),
});

/** The document. Each body and answer must have a name (`named`). */
export function openapiDocument(routes: AdminRoutes, version: string): OpenapiDocument {
  const paths: Record<string, Record<string, Json>> = {};
  for (const [name, route] of Object.entries(routes)) {
    const at = (paths[route.path] ??= {});
    const method = route.method.toLowerCase();
    assert(at[method] === undefined, 'a method of a path stands in the table once');
    at[method] = operation(name, route);
  }
  for (const { path, summary, role } of PROBES) {
    paths[path] = { get: { summary, ...secured(role), responses: textResponses(path) } };
  }
  return {
    openapi: '3.1.1',
    info: {
      title: 'Banyan admin API',
      version,
      description:
        'Times are milliseconds, names that end in At are ISO 8601 in UTC; null means not known or ' +
        'none. Answers may gain fields. Every path with GET answers HEAD.',
    },
    servers: [{ url: 'http://127.0.0.1:9090' }],
    paths,
    components: {
      schemas: componentSchemas(routes),
      securitySchemes: {
        adminKey: { type: 'http', scheme: 'bearer' },
        clientCertificate: { type: 'mutualTLS' },
      },
    },
  };
}

function operation(name: string, route: AdminRoute): Json {
  const { body, query } = route;
  return {
    operationId: name,
    summary: route.summary,
    ...secured(route.role),
    ...(query === undefined ? {} : { parameters: parameters(query) }),
    ...(body === undefined
      ? {}
      : { requestBody: { required: true, content: json(reference(body)) } }),
    responses: {
      200: { description: 'Done.', content: json(reference(route.answer)) },
      ...refusals(route),
    },
  };
}

/** Null: whoever reaches the listener. */
function secured(role: Role | null): Json {
  if (role === null) return { security: [], 'x-required-role': 'none' };
  return {
    security: [{ adminKey: [role] }, { clientCertificate: [role] }, {}],
    'x-required-role': role,
  };
}

function refusals({ refusals: own = {}, body }: AdminRoute): Json {
  const lists = [COMMON_REFUSALS, body === undefined ? {} : BODY_REFUSALS, own];
  const codes = new Map<string, Set<string>>();
  for (const list of lists) {
    for (const [status, named] of Object.entries(list)) {
      const at = codes.get(status) ?? new Set();
      codes.set(status, at);
      for (const code of named) at.add(code);
    }
  }
  const content = json({ $ref: '#/components/schemas/Refusal' });
  return Object.fromEntries(
    [...codes].map(([status, at]) => [status, { description: [...at].join(', '), content }]),
  );
}

function textResponses(path: string): Json {
  const text = { 'text/plain': { schema: { type: 'string' } } };
  if (path === '/metrics') return { 200: { description: 'Prometheus text.', content: text } };
  const good = { 200: { description: 'ok', content: text } };
  if (path.startsWith('/live') || path.endsWith('liveliness')) return good;
  return { ...good, 503: { description: 'not ready', content: text } };
}

function parameters(query: z.ZodObject): readonly Json[] {
  const { properties = {} } = z.toJSONSchema(query, { io: 'input' });
  return Object.entries(query.shape).map(([name, field]) => {
    const property = properties[name];
    const { description, ...schema } = typeof property === 'object' ? property : {};
    return {
      name,
      in: 'query',
      required: !z.safeParse(field, undefined).success,
      ...(description === undefined ? {} : { description }),
      schema,
    };
  });
}

function json(schema: Json): Json {
  return { 'application/json': { schema } };
}

function reference(schema: z.ZodType): Json {
  const id = ADMIN_SCHEMAS.get(schema)?.id;
  assert(id !== undefined, 'a body and an answer have a name');
  return { $ref: `#/components/schemas/${id}` };
}

/** Bodies as they may come, all else as it goes out. */
function componentSchemas(routes: AdminRoutes): Json {
  const bodies = new Set(
    Object.values(routes).flatMap(({ body }) => {
      const id = body === undefined ? undefined : ADMIN_SCHEMAS.get(body)?.id;
      return id === undefined ? [] : [id];
    }),
  );
  const uri = (id: string): string => `#/components/schemas/${id}`;
  const outgoing = z.toJSONSchema(ADMIN_SCHEMAS, { uri, io: 'output', override: openAnswer });
  const incoming = z.toJSONSchema(ADMIN_SCHEMAS, { uri, io: 'input', unrepresentable: 'any' });
  const names = Object.keys(outgoing.schemas).toSorted();
  const schemas = names.map((id) => {
    const schema = bodies.has(id) ? incoming.schemas[id] : outgoing.schemas[id];
    const { $schema: _dialect, $id: _id, ...rest } = schema ?? {};
    return [id, rest] as const;
  });
  const refusal = z.toJSONSchema(refusalSchema);
  const { $schema: _dialect, ...rest } = refusal;
  return { ...Object.fromEntries(schemas), Refusal: rest };
}

/** Answers may gain fields; that they are only read is plain. */
function openAnswer({ jsonSchema }: { readonly jsonSchema: z.core.JSONSchema.BaseSchema }): void {
  delete jsonSchema.additionalProperties;
  delete jsonSchema.readOnly;
}
