import { createHash } from 'node:crypto'

import { canonicalize } from './canonical.ts'
import { MetadataError } from './errors.ts'
import { parseStrict } from './json.ts'
import { keyId, type TufKey } from './keys.ts'
import type { LogHead } from './log-entry.ts'
import { readDirectorTargets, readRoot, readSnapshot, readTargets, readTimestamp } from './read.ts'
import { toInstant } from './time.ts'
import type {
  Delegations,
  DirectorTarget,
  ImageTarget,
  MetaFile,
  Policy,
  RoleKeys,
  RootMetadata,
  TargetsMetadata,
} from './types.ts'

/*
 * Every builder gives the canonical bytes of `signed`, ready for signBytes and encodeEnvelope, and throws
 * MetadataError for anything the verifier's own reader would not take back.
 */

interface Version {
  version: number
  expiresAt: Date
}

export interface RoleSigners {
  keys: readonly TufKey[]
  threshold: number
  /** ML-DSA keys, of which so many must sign besides (updates.md 10). */
  pq?: { keys: readonly TufKey[]; threshold: number }
}

export type TopRole = keyof RootMetadata['roles']

export interface NewRoot extends Version {
  roles: Record<TopRole, RoleSigners>
  /** Signed into the root as `x-evaluation` (updates.md 3.6). */
  evaluation: boolean
  /** Devices that saw such a root never again take one without post-quantum signatures (updates.md 10). */
  pqRequired?: boolean
}

export interface NewDelegation extends RoleSigners {
  name: string
  paths: string[]
  terminating?: boolean
}

const specVersion = '1.0.34'

/** Root of either repository (TUF 1.0.34 section 4.3). */
export function buildRoot({
  roles,
  evaluation,
  pqRequired = false,
  version,
  expiresAt,
}: NewRoot): Buffer {
  return finish(readRoot, {
    ...head('root', { version, expiresAt }),
    consistent_snapshot: true,
    ...rootKeys(roles),
    'x-evaluation': evaluation ? true : undefined,
    'x-pq-required': pqRequired ? true : undefined,
  })
}

function rootKeys(roles: NewRoot['roles']) {
  const { root, targets, snapshot, timestamp } = roles
  const hybrid = {
    ...(root.pq && { root: roleKeys(root.pq) }),
    ...(targets.pq && { targets: roleKeys(targets.pq) }),
  }
  return {
    keys: keyMap([root, targets, snapshot, timestamp]),
    roles: {
      root: roleKeys(root),
      targets: roleKeys(targets),
      snapshot: roleKeys(snapshot),
      timestamp: roleKeys(timestamp),
    },
    'x-pq-keys': pqKeyMap([root, targets]),
    'x-pq-roles': root.pq ? hybrid : undefined,
  }
}

/** The next text of a root: what it says, with other dates and, where `roles` names them, other keys. */
export function rebuildRoot(
  before: RootMetadata,
  {
    roles = {},
    pqRequired = before['x-pq-required'] === true,
    ...version
  }: Version & { roles?: Partial<NewRoot['roles']>; pqRequired?: boolean },
): Buffer {
  return finish(readRoot, {
    // Fields that are not ours are signed and kept.
    ...before,
    ...head('root', version),
    ...rootKeys({ ...rootSignersIn(before), ...roles }),
    'x-pq-required': pqRequired ? true : undefined,
  })
}

/** Who signs each role, as a root says it. */
export function rootSignersIn({
  keys,
  roles,
  'x-pq-keys': pqKeys = {},
  'x-pq-roles': pqRoles,
}: RootMetadata): NewRoot['roles'] {
  const of = (role: RoleKeys, pq?: RoleKeys) => ({
    ...signersIn(keys, role),
    ...(pq && { pq: signersIn(pqKeys, pq) }),
  })
  return {
    root: of(roles.root, pqRoles?.root),
    targets: of(roles.targets, pqRoles?.targets),
    snapshot: of(roles.snapshot),
    timestamp: of(roles.timestamp),
  }
}

function signersIn(keys: Readonly<Record<string, TufKey>>, { keyids, threshold }: RoleKeys) {
  return { keys: keyids.flatMap((keyid) => keys[keyid] ?? []), threshold }
}

/** Targets of the image repository: delegations and nothing else (updates.md 2.3). */
export function buildTargets({
  delegations,
  ...version
}: Version & { delegations: readonly NewDelegation[] }): Buffer {
  const built: Delegations = {
    keys: keyMap(delegations),
    roles: delegations.map(({ name, paths, terminating = true, ...signers }) => ({
      ...roleKeys(signers),
      name,
      paths,
      terminating,
      ...(signers.pq && { 'x-pq': roleKeys(signers.pq) }),
    })),
  }
  return finish(readTargets, {
    ...head('targets', version),
    delegations: built,
    targets: {},
    'x-pq-keys': pqKeyMap(delegations),
  })
}

/** The delegations of a targets file, as `buildTargets` takes them. */
export function delegationsIn({
  delegations,
  'x-pq-keys': pqKeys = {},
}: Pick<TargetsMetadata, 'delegations' | 'x-pq-keys'>): NewDelegation[] {
  const { keys, roles } = delegations ?? { keys: {}, roles: [] }
  return roles.map(({ keyids, threshold, 'x-pq': pq, ...role }) => ({
    ...role,
    ...signersIn(keys, { keyids, threshold }),
    ...(pq && { pq: signersIn(pqKeys, pq) }),
  }))
}

/** The delegated role and the paths of one model's firmware (updates.md 2.2). */
export function firmwareDelegation(model: string, signers: RoleSigners): NewDelegation {
  return { name: `fw-${model}`, paths: [`fw/${model}/*/*`], ...signers }
}

/** The delegated role and the paths of one model's settings: what is for the whole fleet, and what bounds the rest. */
export function configDelegation(model: string, signers: RoleSigners): NewDelegation {
  const paths = [`cfg/${model}/*/*`, `cfgschema/${model}/*/*`]
  return { name: `cfg-${model}`, paths, ...signers }
}

/** `fw-<model>` or `cfg-<model>`: the builds that may still be installed, by path `fw/<model>/<version>/<component>.<ext>`. */
export function buildModelTargets({
  model,
  targets,
  ...version
}: Version & { model: string; targets: Readonly<Record<string, ImageTarget>> }): Buffer {
  for (const path of Object.keys(targets)) {
    const [kind = '', of] = path.split('/')
    if (!['fw', 'cfg', 'cfgschema'].includes(kind) || of !== model) {
      throw new MetadataError('shape', `${path} is not a path of model ${model}`)
    }
  }
  return finish(readTargets, { ...head('targets', version), targets })
}

/** Names one published file: its version, length and SHA-256. */
export function metaFileOf(file: Buffer, version: number): MetaFile {
  const sha256 = createHash('sha256').update(file).digest('hex')
  return { hashes: { sha256 }, length: file.length, version }
}

/** Image snapshot; `meta` by unversioned file name: `targets.json`, `fw-gate-2.json`. */
export function buildSnapshot({
  meta,
  ...version
}: Version & { meta: Readonly<Record<string, MetaFile>> }): Buffer {
  return finish(readSnapshot, { ...head('snapshot', version), meta })
}

/** Image timestamp; `log` is the head of the transparency log. */
export function buildTimestamp({
  snapshot,
  log,
  ...version
}: Version & { snapshot: MetaFile; log?: LogHead }): Buffer {
  return finish(readTimestamp, {
    ...head('timestamp', version),
    meta: { 'snapshot.json': snapshot },
    'x-log': log,
  })
}

export interface NewDirectorTargets extends Version {
  deviceId: string
  deploymentId?: string
  policy?: Policy
  /** Of several targets, the component that the deployment is about; the others come with it. */
  main?: string
  /** By path; empty when there is nothing for this device to install. */
  targets: Readonly<Record<string, DirectorTarget>>
}

/** What one device runs next. Names the device even when empty, or an empty list could be replayed to another. */
export function buildDirectorTargets({
  deviceId,
  deploymentId,
  policy,
  main,
  targets,
  ...version
}: NewDirectorTargets): Buffer {
  return finish(readDirectorTargets, {
    ...head('targets', version),
    targets,
    'x-deployment': deploymentId,
    'x-device': deviceId,
    'x-main': main,
    'x-policy': policy,
  })
}

/** Director snapshot: lists `targets.json` only. */
export function buildDirectorSnapshot({
  targets,
  ...version
}: Version & { targets: MetaFile }): Buffer {
  return buildSnapshot({ ...version, meta: { 'targets.json': targets } })
}

export interface NewDirectorTimestamp extends Version {
  snapshot: MetaFile
  /** Both absent for a stock client that sent no nonce (updates.md 2.5). */
  answer?: { nonce: string; at: Date }
  /** Head of the transparency log, with which the proofs beside this file agree. */
  log?: LogHead
}

/** Director timestamp; `version` is Unix seconds, raised above what the device holds (updates.md 2.5). */
export function buildDirectorTimestamp({
  snapshot,
  answer,
  log,
  ...version
}: NewDirectorTimestamp): Buffer {
  return finish(readTimestamp, {
    ...head('timestamp', version),
    meta: { 'snapshot.json': snapshot },
    'x-log': log,
    'x-nonce': answer?.nonce,
    'x-time': answer && toInstant(answer.at),
  })
}

function head(type: string, { version, expiresAt }: Version): Record<string, unknown> {
  return { _type: type, expires: toInstant(expiresAt), spec_version: specVersion, version }
}

function roleKeys({ keys, threshold }: Pick<RoleSigners, 'keys' | 'threshold'>): RoleKeys {
  return { keyids: keys.map(keyId), threshold }
}

function pqKeyMap(roles: readonly RoleSigners[]): Record<string, TufKey> | undefined {
  const hybrid = roles.flatMap(({ pq }) => pq ?? [])
  return hybrid.length > 0 ? keyMap(hybrid) : undefined
}

function keyMap(roles: readonly Pick<RoleSigners, 'keys'>[]): Record<string, TufKey> {
  return Object.fromEntries(roles.flatMap(({ keys }) => keys.map((key) => [keyId(key), key])))
}

/** What we sign is what a device will read: through its parser, its shape and its limits. */
function finish(read: (value: ReturnType<typeof parseStrict>) => unknown, signed: object): Buffer {
  const bytes = canonicalize(signed)
  read(parseStrict(bytes, maxSignedBytes))
  return bytes
}

const maxSignedBytes = 65_536
