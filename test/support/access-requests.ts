import { toPem } from '../../pki/pem.ts'
import { permissionsNeeded } from '../../server/http/access.ts'
import type { Route } from '../../server/http/route.ts'
import { always, requestOf, type Side } from './access-world.ts'

/** What to put where a thing of this name is asked for. */
export type Pick = (name: string) => string

export interface Asked {
  method: string
  path: string
  body?: unknown
  /** The body as it is, of this type. */
  type?: string
}

/** One way to call a route: `ask` fills it; `names` are the things that it names. */
export interface Variant {
  ask: (pick: Pick) => Asked
  names: readonly string[]
}

const reason = 'seen by the matrix'
/** With a new key each time: one that was used is refused. */
const newCsr = () => toPem('CERTIFICATE REQUEST', requestOf('matrix-claim'))

/**
 * Bodies, by route. What a route of the scope `devices` takes has to be here, and everything of which the body's `action` decides on
 * the permission; the rest is sent an empty one, which is refused as soon as the permission was looked at.
 */
const bodies: Readonly<Record<string, (pick: Pick) => unknown>> = {
  'PATCH /groups/:groupId': () => ({ description: reason }),
  'POST /groups/:groupId/actions': () => ({ action: 'enable', reason }),
  'POST /devices': (pick) => ({ serialNumber: 'from-the-matrix', groupId: pick('groupId') }),
  'POST /devices/:deviceId/actions': () => ({ action: 'enable', reason }),
  'POST /devices/:deviceId/penalty/actions': () => ({ action: 'lift', reason }),
  'POST /enrollment-profiles': (pick) => ({
    name: 'from-the-matrix',
    groupId: pick('groupId'),
    auth: { type: 'token' },
    registration: 'just-in-time',
  }),
  'POST /enrollment-profiles/:profileId/actions': () => ({ action: 'resume' }),
  'POST /enrollment-profiles/:profileId/tokens': () => ({ maxUses: 1 }),
  'PUT /enrollment-profiles/:profileId/issuer': () => ({ series: null }),
  'POST /enrollment-profiles/:profileId/claims': () => ({ csr: newCsr(), maxUses: 1 }),
  'POST /enrollment-requests/:requestId/actions': () => ({ action: 'deny', reason }),
  'PUT /enrollment-profiles/:profileId/est': () => ({}),
  'PUT /enrollment-profiles/:profileId/scep': () => ({ enabled: true }),
  'POST /enrollment-profiles/:profileId/scep-challenges': () => ({ serialNumber: 'matrix-1' }),
  'POST /devices/:deviceId/key-bundles': () => ({}),
  'POST /certificates/:certificateId/actions': () => ({ action: 'release' }),
  'PUT /enrollment-profiles/:profileId/ddi': () => ({ model: 'gate-2', hardwareIds: ['rev-a'] }),
  'PUT /devices/:deviceId/ddi': () => ({ controllerId: 'matrix-controller' }),
  'POST /devices/:deviceId/ddi/token': () => ({ reason, despiteCertificate: true }),
  'POST /releases/:releaseId/actions': () => ({ action: 'submit' }),
  'POST /rollouts': (pick) => ({
    name: 'from the matrix',
    releaseId: pick('releaseId'),
    groupId: pick('groupId'),
    phases: [{ percent: 100 }],
  }),
  'POST /rollouts/preview': (pick) => ({ rolloutId: pick('rolloutId') }),
  'PATCH /rollouts/:rolloutId': () => ({ reason }),
  'POST /rollouts/:rolloutId/actions': () => ({ action: 'resume', reason }),
  'POST /rollouts/:rolloutId/retry': () => ({}),
  'POST /rollouts/:rolloutId/rollback': () => ({}),
  'PUT /groups/:groupId/window': () => always,
  'PUT /devices/:deviceId/window': () => always,
  'PUT /devices/:deviceId/settings': () => ({ settings: {} }),
  'POST /deployments/:deploymentId/overrides': () => ({ reason, until: '2030-01-03T00:00:00Z' }),
  'POST /approvals/:approvalId/actions': () => ({ action: 'approve' }),
  'POST /overrides/:overrideId/actions': () => ({ action: 'approve' }),
}

/** More bodies for the same route, where one does not name all that it can name. */
const otherBodies: Readonly<Record<string, readonly ((pick: Pick) => unknown)[]>> = {
  'POST /rollouts/preview': [
    (pick) => ({
      releaseId: pick('releaseId'),
      groupId: pick('groupId'),
      phases: [{ percent: 100 }],
    }),
  ],
  'POST /rollouts': [
    (pick) => ({
      name: 'with a question',
      releaseId: pick('releaseId'),
      groupId: pick('groupId'),
      query: `group = "${pick('name')}-group"`,
      phases: [{ percent: 100 }],
    }),
  ],
}

/** Bodies that are no JSON. */
const uploads: Readonly<Record<string, (pick: Pick) => string>> = {
  'POST /enrollment-profiles/:profileId/registrations': () => 'serialNumber\nfrom-the-matrix-2\n',
  'POST /enrollment-profiles/:profileId/batches': () => 'csr\n"no request"\n',
}

/** What a filter of a list is asked with; null: it names nothing that somebody has. */
const filters: Readonly<Record<string, readonly ((pick: Pick) => string)[] | null>> = {
  cursor: null,
  limit: null,
  state: null,
  connected: null,
  severity: null,
  source: null,
  format: null,
  dryRun: null,
  groupId: [(pick) => pick('groupId')],
  deviceId: [(pick) => pick('deviceId')],
  profileId: [(pick) => pick('profileId')],
  kind: [(pick) => pick('kind')],
  name: [(pick) => `${pick('name')}-group`],
  query: [
    (pick) => pick('serialNumber'),
    (pick) => `group = "${pick('name')}-group"`,
    (pick) => `serialNumber = "${pick('serialNumber')}"`,
    (pick) => `not group = "${pick('name')}-group"`,
  ],
}

/** Path parameters that are called the same where they mean something else. */
const renamed: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'PATCH /rollouts/:rolloutId': { rolloutId: 'draftId' },
  'POST /enrollment-profiles/:profileId/claims': { profileId: 'claimProfileId' },
  'GET /enrollment-profiles/:profileId/credentials': { profileId: 'claimProfileId' },
}

export const nameOf = ({ method, path }: Route) => `${method.toUpperCase()} ${path}`

/**
 * Every way to call a route that names different things. A route that cannot be filled from here is an error: whoever adds one says
 * above what it takes, or it is not known whether it keeps to anybody's reach.
 */
export function variantsOf(route: Route, side: Side): Variant[] {
  const name = nameOf(route)
  const path = (pick: Pick) =>
    `${route.path}`.replaceAll(/:(\w+)/g, (_all, param: string) =>
      encodeURIComponent(pick(renamed[name]?.[param] ?? param)),
    )
  const body = bodyOf(route)
  const ask = (more: (pick: Pick) => Partial<Asked> & { search?: string }) => (pick: Pick) => {
    const { search = '', ...rest } = more(pick)
    return { method: route.method.toUpperCase(), path: `${path(pick)}${search}`, ...rest }
  }
  const plain = ask((pick) => body(pick))
  const others = (otherBodies[name] ?? []).map((other) => ask((pick) => ({ body: other(pick) })))
  const asked = filtersOf(route).flatMap(([key, values]) =>
    values.map((value) =>
      ask((pick) => ({ search: `?${key}=${encodeURIComponent(value(pick))}` })),
    ),
  )
  return [plain, ...others, ...asked].map((one) => ({ ask: one, names: namesIn(one, side, name) }))
}

/** The same call for each action that its body can ask for, with the permission that it takes. */
export function actionsOf(route: Route) {
  const { permission } = route
  if (typeof permission === 'string') return [{ permission, body: bodyOf(route) }]
  return Object.entries(permission.action).map(([action, needed]) => ({
    permission: needed,
    body: (pick: Pick): Partial<Asked> => ({
      body: { ...Object(bodyOf(route)(pick).body), action },
    }),
  }))
}

function bodyOf(route: Route): (pick: Pick) => Partial<Asked> {
  const name = nameOf(route)
  const upload = uploads[name]
  if (upload) return (pick) => ({ body: upload(pick), type: 'text/csv' })
  const body = bodies[name]
  if (body) return (pick) => ({ body: body(pick) })
  const isTold = route.scope === 'devices' || permissionsNeeded(route.permission).length > 1
  if (isTold && (route.schemas.body || route.upload)) {
    throw new Error(`Say in test/support/access-requests.ts what ${name} takes`)
  }
  return () => (route.schemas.body ? { body: {} } : {})
}

function filtersOf(route: Route): [string, readonly ((pick: Pick) => string)[]][] {
  if (route.scope !== 'devices') return []
  const shape = Object(route.schemas.query).shape as Record<string, unknown> | undefined
  return Object.keys(shape ?? {}).flatMap(
    (key): [string, readonly ((pick: Pick) => string)[]][] => {
      const values = filters[key]
      if (values === undefined) {
        throw new Error(
          `Say in test/support/access-requests.ts what ?${key} of ${nameOf(route)} is`,
        )
      }
      return values === null ? [] : [[key, values]]
    },
  )
}

function namesIn(ask: (pick: Pick) => Asked, side: Side, route: string): string[] {
  const names = new Set<string>()
  ask((name) => {
    if (side[name] === undefined) {
      throw new Error(`Say in test/support/access-world.ts what a ${name} is, for ${route}`)
    }
    names.add(name)
    return side[name]
  })
  return [...names]
}
