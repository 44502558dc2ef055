import { expect, test } from 'vitest'
import { z } from 'zod'

import { permissionsNeeded } from '../../server/http/access.ts'
import { openRoutes, routes } from '../../server/http/app.ts'
import { openApiDocument } from '../../server/http/openapi.ts'
import type { Route, route as defineRoute } from '../../server/http/route.ts'
import { schemaNames, webhookMessages } from '../../server/http/schema-names.ts'
import { sessionCookieName } from '../../server/people/session-cookie.ts'
import {
  type BuiltInRole,
  builtInRoles,
  permissions,
  permissionsOf,
} from '../../server/protocol/permissions.ts'

const nameOf = ({ method, path }: Route) => `${method.toUpperCase()} ${path}`
const changes = (route: Route) => route.method !== 'get'
const offenders = (isFine: (route: Route) => boolean) =>
  routes.filter((route) => !isFine(route)).map(nameOf)

/** Changes nothing, though it is a POST: its question is too long for a URL. */
const asksOnly = ['POST /rollouts/preview']

test('the calls of the interface are there', () => {
  expect(routes.length).toBeGreaterThan(30)
  const names = routes.map(nameOf)
  expect(new Set(names).size).toBe(names.length)
})

const mayCall = (role: BuiltInRole) => (route: Route) =>
  permissionsNeeded(route.permission).some((name) => permissionsOf[role].includes(name))

test('every route asks for permissions of the closed list', () => {
  const isKnown = (route: Route) => {
    const needed = permissionsNeeded(route.permission)
    return needed.length > 0 && needed.every((name) => permissions.includes(name))
  }
  expect(offenders(isKnown)).toEqual([])
})

test('no permission is left that no route asks for', () => {
  const asked = new Set(routes.flatMap(({ permission }) => permissionsNeeded(permission)))
  expect(permissions.filter((name) => !asked.has(name))).toEqual([])
})

test('what reads changes nothing, and what changes something does more than read', () => {
  const isRead = (route: Route) =>
    permissionsNeeded(route.permission).every((name) => name.endsWith(':read'))
  expect(
    offenders((route) => isRead(route) !== changes(route) || asksOnly.includes(nameOf(route))),
  ).toEqual([])
})

/** Everybody's own: password, second factors, and showing one of them again. */
const isOwn = ({ permission }: Route) => permission === 'self:write'

test('a viewer and an auditor change nothing but their own password and factors', () => {
  const changing = routes.filter(
    (route) => changes(route) && !asksOnly.includes(nameOf(route)) && !isOwn(route),
  )
  expect(changing.filter(mayCall('viewer')).map(nameOf)).toEqual([])
  expect(changing.filter(mayCall('auditor')).map(nameOf)).toEqual([])
})

test('an administrator may do what any other role may', () => {
  expect(offenders(mayCall('admin'))).toEqual([])
})

test('keys and roots are changed by administrators alone', () => {
  const sensitive = routes.filter(
    ({ path, method }) =>
      method !== 'get' && (path.startsWith('/api-keys') || path === '/metadata/roots'),
  )
  expect(sensitive.length).toBeGreaterThan(2)
  for (const route of sensitive) {
    const roles = builtInRoles.filter((role) => mayCall(role)(route))
    expect(roles, nameOf(route)).toEqual(['admin'])
  }
})

test('every POST that answers 201 honors Idempotency-Key, or is one by nature', () => {
  const byNature = ['POST /metadata/roots', 'POST /metadata/:role/draft']
  expect(
    offenders(
      (route) =>
        route.method !== 'post' ||
        route.status !== 201 ||
        route.creates ||
        byNature.includes(nameOf(route)),
    ),
  ).toEqual([])
  expect(
    offenders((route) => !route.creates || (route.method === 'post' && route.status === 201)),
  ).toEqual([])
})

test('path parameters are parsed, and nothing unknown is ignored in a body or query', () => {
  expect(
    offenders(({ path, schemas }) => !path.includes(':') || schemas.params !== undefined),
  ).toEqual([])
  const objects = (schema: z.ZodType): { additionalProperties?: unknown }[] => {
    const { anyOf, oneOf, ...rest } = z.toJSONSchema(schema, {
      io: 'input',
      unrepresentable: 'any',
    })
    return (anyOf ?? oneOf ?? [rest]) as { additionalProperties?: unknown }[]
  }
  const isStrict = (schema: z.ZodType | undefined) =>
    schema === undefined ||
    objects(schema).every(({ additionalProperties }) => additionalProperties === false)
  expect(offenders(({ schemas }) => isStrict(schemas.query))).toEqual([])
  // public.json carries more than the server reads: names for people.
  expect(
    offenders((route) => isStrict(route.schemas.body) || nameOf(route) === 'POST /metadata/roots'),
  ).toEqual([])
})

test('every list is bounded and says whether there is more', () => {
  const isList = ({ schemas }: Route) =>
    schemas.response instanceof z.ZodObject && 'items' in schemas.response.shape
  const lists = routes.filter(isList)
  expect(lists.length).toBeGreaterThan(8)
  expect(
    offenders(
      (route) => !isList(route) || 'nextCursor' in (route.schemas.response as z.ZodObject).shape,
    ),
  ).toEqual([])
})

const document = openApiDocument(routes, {
  prefix: '/api/v1',
  version: '0',
  names: schemaNames,
  open: openRoutes,
  messages: webhookMessages,
})
const Operation = z.looseObject({
  operationId: z.string(),
  summary: z.string().min(5),
  parameters: z.array(
    z.union([
      z.looseObject({ name: z.string(), in: z.string(), required: z.boolean() }),
      z.object({ $ref: z.string() }),
    ]),
  ),
  responses: z.record(z.string(), z.unknown()),
  requestBody: z.unknown().optional(),
})
const Paths = z.record(z.string(), z.record(z.string(), Operation))

test('every route is in the OpenAPI document, with all its parameters', () => {
  const paths = Paths.parse(document['paths'])
  const ids: string[] = []
  for (const route of routes) {
    const operation = paths[`/api/v1${route.path.replaceAll(/:(\w+)/g, '{$1}')}`]?.[route.method]
    expect(operation, nameOf(route)).toBeDefined()
    if (!operation) continue
    ids.push(operation.operationId)
    const inPath = operation.parameters
      .filter((parameter) => 'in' in parameter)
      .filter((parameter) => parameter.in === 'path')
      .map(({ name }) => name)
    const inRoute = [...route.path.matchAll(/:(\w+)/g)].map(([, name = '']) => name)
    expect(inPath.toSorted(), nameOf(route)).toEqual(inRoute.toSorted())
    expect(Object.keys(operation.responses)).toEqual(
      expect.arrayContaining([String(route.status), '401', '403', '429', '500', '503']),
    )
    expect(operation.requestBody !== undefined, nameOf(route)).toBe(
      route.schemas.body !== undefined || route.upload !== undefined,
    )
  }
  expect(new Set(ids).size).toBe(ids.length)
})

test('a change by the cookie of a session needs a page of this server too, and all that is shown is described', () => {
  const whole = document as { security: object[]; components: { securitySchemes: object } }
  const known = Object.keys(whole.components.securitySchemes)
  const ways = (given: object[]) => given.map((way) => Object.keys(way))
  expect(ways(whole.security).flat().toSorted()).toEqual(
    ['apiKey', 'clientCertificate', 'session', 'workload'].toSorted(),
  )
  expect(whole.components.securitySchemes).toMatchObject({
    session: { name: sessionCookieName },
  })
  let seen = 0
  for (const [path, operations] of Object.entries(Paths.parse(document['paths']))) {
    for (const [method, operation] of Object.entries(operations)) {
      const { security } = operation as { security?: object[] }
      const name = `${method} ${path}`
      expect(known, name).toEqual(expect.arrayContaining(ways(security ?? []).flat()))
      if (method === 'get') continue
      seen += 1
      expect(security, name).toBeDefined()
      const alone = ways(security ?? []).filter(
        (way) => way.includes('session') && !way.includes('ownPage'),
      )
      expect(alone, name).toEqual([])
    }
  }
  expect(seen).toBeGreaterThan(80)
})

test('patterns in the document are ones that more than ECMAScript reads', () => {
  expect(JSON.stringify(document)).not.toMatch(/\\\\p\{/i)
})

test('the document is plain JSON and its references lead somewhere', () => {
  const text = JSON.stringify(document)
  expect(JSON.parse(text)).toEqual(document)
  for (const [, path = ''] of text.matchAll(/"\$ref":"#\/([^"]+)"/g)) {
    const found = path
      .split('/')
      .reduce<unknown>(
        (at, part) => (typeof at === 'object' && at !== null ? Reflect.get(at, part) : undefined),
        document,
      )
    expect(found, path).toBeDefined()
  }
})

test('a route without a permission does not compile', () => {
  // @ts-expect-error -- permission and scope are missing
  const spec: Parameters<typeof defineRoute>[0] = {
    method: 'get',
    path: '/x',
    summary: 'x',
    response: z.object({}),
    handle: async () => ({}),
  }
  expect(spec).toBeDefined()
})

test('these ask for a second factor that was shown lately, and no others', () => {
  const asking = routes.flatMap((route) => {
    const { stepUp } = route
    if (stepUp === undefined) return []
    return [stepUp === true ? nameOf(route) : `${nameOf(route)} ${stepUp.join(', ')}`]
  })
  expect(asking.toSorted()).toMatchInlineSnapshot(`
    [
      "DELETE /api-keys/:keyId",
      "DELETE /operator-certificates/:certificateId",
      "DELETE /roles/:name",
      "DELETE /self/passkeys/:passkeyId",
      "DELETE /self/totp",
      "DELETE /workloads/:workloadId",
      "PATCH /people/:personId",
      "POST /api-keys",
      "POST /api-keys/:keyId/rotation",
      "POST /approvals/:approvalId/actions approve",
      "POST /authorities/:authorityId/actions",
      "POST /certificates/:certificateId/actions revoke",
      "POST /devices/:deviceId/actions disable, revoke",
      "POST /groups/:groupId/actions disable",
      "POST /key-encryption-key/actions",
      "POST /metadata/roots",
      "POST /operator-certificates",
      "POST /people",
      "POST /people/:personId/actions",
      "POST /people/:personId/invitations",
      "POST /releases/:releaseId/actions publish",
      "POST /roles",
      "POST /self/factors",
      "POST /self/passkeys",
      "POST /self/password",
      "POST /self/recovery-codes",
      "POST /self/totp",
      "POST /workloads",
      "PUT /approval-policies/:kind",
      "PUT /grants/:principal",
      "PUT /roles/:name",
    ]
  `)
})

test('an action that asks for it is one that the route has', () => {
  const wrong = routes.flatMap((route) => {
    const { stepUp = [], schemas } = route
    if (stepUp === true || stepUp.length === 0) return []
    const text = JSON.stringify(schemas.body && z.toJSONSchema(schemas.body, { io: 'input' }))
    return stepUp.filter((action) => !text.includes(`"${action}"`)).map(() => nameOf(route))
  })
  expect(wrong).toEqual([])
})
