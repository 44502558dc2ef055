import { createHash } from 'node:crypto'

import { canonicalize } from './canonical.ts'
import { MetadataError } from './errors.ts'
import { parseStrict } from './json.ts'
import { keyId, type TufKey } from './keys.ts'
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
}

export type TopRole = keyof RootMetadata['roles']

export interface NewRoot extends Version {
  roles: Record<TopRole, RoleSigners>
  /** Signed into the root as `x-evaluation` (updates.md 3.6). */
  evaluation: boolean
}

export interface NewDelegation extends RoleSigners {
  name: string
  paths: string[]
  terminating?: boolean
}

const specVersion = '1.0.34'

/** Root of either repository (TUF 1.0.34 section 4.3). */
export function buildRoot({ roles, evaluation, ...version }: NewRoot): Buffer {
  const { root, targets, snapshot, timestamp } = roles
  return finish(readRoot, {
    ...head('root', version),
    consistent_snapshot: true,
    keys: keyMap([root, targets, snapshot, timestamp]),
    roles: {
      root: roleKeys(root),
      targets: roleKeys(targets),
      snapshot: roleKeys(snapshot),
      timestamp: roleKeys(timestamp),
    },
    'x-evaluation': evaluation ? true : undefined,
  })
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
    })),
  }
  return finish(readTargets, { ...head('targets', version), delegations: built, targets: {} })
}

/** The delegated role and the paths of one model's firmware (updates.md 2.2). */
export function firmwareDelegation(model: string, signers: RoleSigners): NewDelegation {
  return { name: `fw-${model}`, paths: [`fw/${model}/*/*`], ...signers }
}

/** `fw-<model>`: the builds that may still be installed, by path `fw/<model>/<version>/<component>.<ext>`. */
export function buildModelTargets({
  model,
  targets,
  ...version
}: Version & { model: string; targets: Readonly<Record<string, ImageTarget>> }): Buffer {
  for (const path of Object.keys(targets)) {
    if (!path.startsWith(`fw/${model}/`)) {
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

/** Image timestamp. */
export function buildTimestamp({ snapshot, ...version }: Version & { snapshot: MetaFile }): Buffer {
  return finish(readTimestamp, {
    ...head('timestamp', version),
    meta: { 'snapshot.json': snapshot },
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
}

/** Director timestamp; `version` is Unix seconds, raised above what the device holds (updates.md 2.5). */
export function buildDirectorTimestamp({
  snapshot,
  answer,
  ...version
}: NewDirectorTimestamp): Buffer {
  return finish(readTimestamp, {
    ...head('timestamp', version),
    meta: { 'snapshot.json': snapshot },
    'x-nonce': answer?.nonce,
    'x-time': answer && toInstant(answer.at),
  })
}

function head(type: string, { version, expiresAt }: Version): Record<string, unknown> {
  return { _type: type, expires: toInstant(expiresAt), spec_version: specVersion, version }
}

function roleKeys({ keys, threshold }: RoleSigners): RoleKeys {
  return { keyids: keys.map(keyId), threshold }
}

function keyMap(roles: readonly RoleSigners[]): Record<string, TufKey> {
  return Object.fromEntries(roles.flatMap(({ keys }) => keys.map((key) => [keyId(key), key])))
}

/** What we sign is what a device will read: through its parser, its shape and its limits. */
function finish(read: (value: ReturnType<typeof parseStrict>) => unknown, signed: object): Buffer {
  const bytes = canonicalize(signed)
  read(parseStrict(bytes, maxSignedBytes))
  return bytes
}

const maxSignedBytes = 65_536
