import type { JsonValue } from './json.ts'
import type { TufKey } from './keys.ts'

/** SHA-256 and friends, lower hex. Ours always carry `sha256`. */
export type Hashes = Record<string, string>

/** `YYYY-MM-DDTHH:MM:SSZ`, UTC, 20 bytes: compares as a string (updates.md 2.1). */
export type Instant = string

export interface RoleKeys {
  keyids: string[]
  threshold: number
}

export interface RootMetadata {
  _type: 'root'
  spec_version: string
  version: number
  expires: Instant
  consistent_snapshot: boolean
  keys: Record<string, TufKey>
  roles: { root: RoleKeys; timestamp: RoleKeys; snapshot: RoleKeys; targets: RoleKeys }
  /** Keys made for trying the product out (updates.md 3.6). */
  'x-evaluation'?: boolean
  /** Of the hybrid scheme (updates.md 10): ML-DSA keys by key id, `keyval.public` in base64. */
  'x-pq-keys'?: Record<string, TufKey>
  /** Who must sign besides the keys of `roles`. The director has `root` only. */
  'x-pq-roles'?: { root: RoleKeys; targets?: RoleKeys }
  /** From here on every root, image targets and delegated role is hybrid: a device never goes back (updates.md 10). */
  'x-pq-required'?: boolean
}

/** How one metadata file is named by another: version always, length in bytes and hashes in ours. */
export interface MetaFile {
  version: number
  length?: number
  hashes?: Hashes
}

export interface TimestampMetadata {
  _type: 'timestamp'
  spec_version: string
  version: number
  expires: Instant
  meta: { 'snapshot.json': MetaFile }
  /** Director only: the nonce of the device's `hello`, 32 lower hex. */
  'x-nonce'?: string
  /** Director only: the server's time when it answered. */
  'x-time'?: Instant
  /** Head of the transparency log: number of leaves, root in lower hex. */
  'x-log'?: { size: number; root: string }
}

export interface SnapshotMetadata {
  _type: 'snapshot'
  spec_version: string
  version: number
  expires: Instant
  /** By unversioned file name: `targets.json`, `fw-gate-2.json`. */
  meta: Record<string, MetaFile>
}

export interface Delegation extends RoleKeys {
  name: string
  paths: string[]
  terminating: boolean
  /** Who must sign besides `keyids`; the keys are in `x-pq-keys` of the file that delegates (updates.md 10). */
  'x-pq'?: RoleKeys
}

export interface Delegations {
  keys: Record<string, TufKey>
  roles: Delegation[]
}

export interface TargetsMetadata<T = ImageTarget> {
  _type: 'targets'
  spec_version: string
  version: number
  expires: Instant
  targets: Record<string, T>
  delegations?: Delegations
  /** ML-DSA keys of the delegated roles by key id, `keyval.public` in base64 (updates.md 10). */
  'x-pq-keys'?: Record<string, TufKey>
}

/** A targets file of the director: one device, no delegations. */
export interface DirectorTargetsMetadata extends TargetsMetadata<DirectorTarget> {
  'x-device': string
  'x-deployment'?: string
  'x-policy'?: Policy
}

export type TargetKind = 'firmware' | 'config' | 'cfgschema'
export type TargetFormat = 'raw' | 'rauc' | 'swu' | 'mender' | 'suit'
export type ReleaseClass = 'security' | 'feature' | 'config'

/** What both repositories must say about a build, byte for byte (updates.md 2.3). */
export interface Match {
  kind: TargetKind
  model: string
  hardwareIds: string[]
  /** Order of releases; unique and rising per model and component. */
  build: number
  /** Security version: raised only when older builds must never run again. */
  svn: number
  class: ReleaseClass
  /** Text for people; absent for configurations. */
  version?: string
  format?: TargetFormat
  /** Lowest installed build from which this may be installed. */
  minPrev?: number
  /** Other components' lowest build, by component. */
  requires?: Record<string, number>
  /** Advisory ids, never empty for class `security`. */
  fixes?: string[]
  /** Block size in bytes and SHA-256 of the list of 32-byte block hashes. */
  chunk?: { sha256s: string; size: number }
}

export interface ImageTarget {
  length: number
  hashes: Hashes
  custom: { match: Match; v: number }
}

export type DeliveryMethod = 'full' | 'zstd' | 'delta-z1'

/** One way to get the image, in order of preference; length in bytes and hash bound the transfer only. */
export interface DeliveryEntry {
  m: string
  length: number
  sha256: string
  /** SHA-256 of the image that must be installed for this delta. */
  base?: string
  index?: { length: number; sha256: string }
}

export interface DirectorTarget {
  length: number
  hashes: Hashes
  custom: {
    component: string
    delivery: DeliveryEntry[]
    deviceId: string
    match: Match
    v: number
  }
}

/** The owner's choice rules, signed by the director (updates.md 2.3 and 7.2). Hours are whole hours. */
export interface Policy {
  class: ReleaseClass
  auto: boolean
  notify: boolean
  consent: 'none' | 'install' | 'download+install'
  optOut: 'honored' | 'managed'
  urgency: 'normal' | 'exploited'
  /** Hours, device-local, in which a restart would disturb: `22:00-06:00`. */
  quiet: string[]
  /** The operator's maintenance windows, UTC. */
  window: string[]
  postpone?: { eachH: number; graceH: number; maxCount: number; totalH: number }
  advisory?: { id: string; severity: string; url: string }
  /** What the owner is told, encoded as server/protocol/notice.ts has it; `sha256` is of the whole text, also of what is cut. */
  notice?: { text: string; action?: string; sha256: string }
  /** Managed devices only: two different approvers. */
  override?: { by: string[]; reason: string; until: Instant }
}

/** Files the device lacks, exact texts by name: `timestamp.json`, `17.targets.json`, `2.root.json`. */
export interface Bundle {
  director: Record<string, string>
  image: Record<string, string>
}

export interface Signature {
  keyid: string
  /** Lower hex. */
  sig: string
}

/** A member of `x-pq-signatures`: ML-DSA over the same bytes, with the context `fleetseal-tuf-v1` (updates.md 10). */
export interface PqSignature {
  keyid: string
  /** Base64. */
  sig: string
}

/** A parsed metadata file. `signedBytes` is the canonical form of `signed`: what signatures are over. */
export interface Envelope {
  signed: JsonValue
  signedBytes: Buffer
  signatures: Signature[]
  /** Empty when the file has none. */
  pqSignatures: PqSignature[]
}

/** What a device trusts of one repository: exact texts of files. Only `root` is there on a new device. */
export interface RepositoryState {
  root: string
  timestamp?: string
  snapshot?: string
  targets?: string
  /** By role name, unencoded. */
  delegated: Record<string, string>
}

/** Everything a device must remember between runs; plain JSON. */
export interface TrustedState {
  director: RepositoryState
  image: RepositoryState
  /** Trusted time, never lowered except by a director root that replaces the timestamp key (updates.md 2.5). */
  timeAt?: Instant
  /** Anti-rollback counters by component, raised only after a committed update. */
  svn: Record<string, number>
}

export interface InstalledComponent {
  build: number
  svn: number
  sha256?: string
}

/** What the verifier must know about the device it runs on. */
export interface DeviceFacts {
  deviceId: string
  model: string
  hardwareIds: string[]
  components: Record<string, InstalledComponent>
  /** The device's own setting, never a field of a message. */
  allowEvaluation: boolean
  /** The earliest the time can be, and where trusted time falls back to. */
  firmwareBuildTime?: Instant
}

/** Sources of time: a clock, or the nonce this device just sent in `hello`. One of them is needed. */
export interface TimeSources {
  rtc?: Date
  nonce?: string
}

/** One image that both repositories vouch for and this device may install. */
export interface VerifiedTarget {
  path: string
  component: string
  length: number
  sha256: string
  match: Match
  delivery: DeliveryEntry[]
}

export interface VerifiedBundle {
  /** Replaces the caller's state; persist it before acting on `targets`. */
  state: TrustedState
  /** Empty when the director has nothing for this device. */
  targets: VerifiedTarget[]
  policy?: Policy
  deploymentId?: string
  /** The trusted time of this run. */
  time: Instant
}
