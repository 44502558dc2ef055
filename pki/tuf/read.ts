import type { JsonValue } from './json.ts'
import {
  type Check,
  distinct,
  flag,
  integer,
  list,
  object,
  oneOf,
  optional,
  record,
  text,
} from './shape.ts'
import type {
  DirectorTargetsMetadata,
  RootMetadata,
  SnapshotMetadata,
  TargetsMetadata,
  TimestampMetadata,
} from './types.ts'

/** `model` and `component` (updates.md 2.4). */
export const namePattern = /^[a-z0-9][a-z0-9-]{0,31}$/

const sha256 = text(/^[0-9a-f]{64}$/)
const instant = text(
  /^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$/,
)
const name = text(namePattern)
// More entries than algorithms exist would only make the verifier hash more.
const hashes = record(text(/^[0-9a-f]{2,256}$/), { least: 1, most: 8 })

const file = (type: string): Record<string, Check> => ({
  _type: oneOf(type),
  // TUF 1.0.34 section 4.3: clients of 1.x read 1.x.
  spec_version: text(/^1\.[0-9]{1,4}(?:\.[0-9]{1,4})?$/),
  version: integer(1),
  expires: instant,
})

// An unknown kind of key is skipped where signatures are counted, not refused here (updates.md 2.1).
const keys = record(
  object({
    keytype: text(/^/, 64),
    scheme: text(/^/, 64),
    keyval: object({ public: text(/^/, 4096) }),
  }),
  { most: 64 },
)
const roleKeys = {
  keyids: distinct(list(text(/^./, 128), { most: 32 })),
  // A threshold of 0 would trust a file nobody signed.
  threshold: integer(1),
}
const role = object(roleKeys)
const metaFile = object({
  version: integer(1),
  length: optional(integer(1)),
  hashes: optional(hashes),
})

const rootShape = object({
  ...file('root'),
  consistent_snapshot: flag,
  keys,
  roles: object({ root: role, timestamp: role, snapshot: role, targets: role }),
  'x-evaluation': optional(flag),
  'x-pq-keys': optional(keys),
  'x-pq-roles': optional(object({ root: role, targets: optional(role) })),
  'x-pq-required': optional(flag),
})

const timestampShape = object({
  ...file('timestamp'),
  meta: object({ 'snapshot.json': metaFile }),
  'x-nonce': optional(text(/^[0-9a-f]{32}$/)),
  'x-time': optional(instant),
  'x-log': optional(object({ size: integer(1), root: sha256 })),
})

const snapshotShape = object({ ...file('snapshot'), meta: record(metaFile, { least: 1 }) })

const match = object({
  kind: oneOf('firmware', 'config', 'cfgschema'),
  model: name,
  hardwareIds: distinct(list(text(/^./, 64), { least: 1 })),
  build: integer(),
  svn: integer(),
  class: oneOf('security', 'feature', 'config'),
  version: optional(text(/^[0-9A-Za-z][0-9A-Za-z.+_-]*$/, 64)),
  format: optional(oneOf('raw', 'rauc', 'swu', 'mender', 'suit')),
  minPrev: optional(integer()),
  requires: optional(record(integer(), { most: 16, names: namePattern })),
  fixes: optional(distinct(list(text(/^./, 64), { most: 256 }))),
  chunk: optional(object({ sha256s: sha256, size: integer(1) })),
})
const target = {
  length: integer(1),
  hashes: object({ sha256 }),
}
const imageTarget = object({ ...target, custom: object({ match, v: oneOfVersion() }) })

const delivery = object({
  m: text(namePattern),
  length: integer(1),
  sha256,
  base: optional(sha256),
  index: optional(object({ length: integer(1), sha256 })),
})
const directorTarget = object({
  ...target,
  custom: object({
    component: name,
    delivery: list(delivery, { least: 1, most: 16 }),
    deviceId: text(/^./, 64),
    match,
    v: oneOfVersion(),
  }),
})

const delegation = object({
  ...roleKeys,
  name: text(/^./, 128),
  // path_hash_prefixes is not supported, and such a role is refused rather than skipped.
  paths: list(text(/^./, 256)),
  terminating: flag,
  'x-pq': optional(role),
})
const delegations = object({ keys, roles: list(delegation, { most: 1024 }) })

const targetPath = /^(?!\/)[^\\]{1,256}$/
const targetsShape = object({
  ...file('targets'),
  targets: record(imageTarget, { names: targetPath }),
  delegations: optional(delegations),
  'x-pq-keys': optional(keys),
})

const hours = integer(1)
const timeOfDay = text(/^(?:[01][0-9]|2[0-3]):[0-5][0-9]-(?:[01][0-9]|2[0-3]):[0-5][0-9]$/)
const policy = object({
  class: oneOf('security', 'feature', 'config'),
  auto: flag,
  notify: flag,
  consent: oneOf('none', 'install', 'download+install'),
  optOut: oneOf('honored', 'managed'),
  urgency: oneOf('normal', 'exploited'),
  quiet: list(timeOfDay, { most: 16 }),
  window: list(timeOfDay, { most: 16 }),
  postpone: optional(
    object({ eachH: hours, graceH: integer(), maxCount: integer(), totalH: integer() }),
  ),
  advisory: optional(object({ id: text(/^./, 64), severity: text(/^./, 32), url: text(/^/) })),
  override: optional(
    object({
      by: distinct(list(text(/^./, 128), { least: 2, most: 2 })),
      reason: text(/^./),
      until: instant,
    }),
  ),
})

const directorTargetsShape = object({
  ...file('targets'),
  targets: record(directorTarget, { most: 32, names: targetPath }),
  delegations: optional(delegations),
  'x-device': text(/^./, 64),
  'x-deployment': optional(text(/^./, 64)),
  'x-policy': optional(policy),
})

// `custom.v` says how to read the rest: an unknown one must not be guessed at.
function oneOfVersion(): Check {
  const version = integer(1)
  return (value, where) => version(value === 1 ? value : undefined, where)
}

/** The `signed` part of a root; throws MetadataError when the shape is not that of TUF 1.0.34 section 4.3. */
export function readRoot(signed: JsonValue): RootMetadata {
  return read(rootShape, 'root', signed) as unknown as RootMetadata
}

export function readTimestamp(signed: JsonValue): TimestampMetadata {
  return read(timestampShape, 'timestamp', signed) as unknown as TimestampMetadata
}

export function readSnapshot(signed: JsonValue): SnapshotMetadata {
  return read(snapshotShape, 'snapshot', signed) as unknown as SnapshotMetadata
}

/** Targets of the image repository, top-level or delegated. */
export function readTargets(signed: JsonValue): TargetsMetadata {
  return read(targetsShape, 'targets', signed) as unknown as TargetsMetadata
}

/** Targets of the director: one device's. */
export function readDirectorTargets(signed: JsonValue): DirectorTargetsMetadata {
  return read(
    directorTargetsShape,
    'director targets',
    signed,
  ) as unknown as DirectorTargetsMetadata
}

function read(shape: Check, what: string, signed: JsonValue): JsonValue {
  shape(signed, what)
  return signed
}
