import {
  buildDirectorSnapshot,
  buildDirectorTargets,
  buildDirectorTimestamp,
  metaFileOf,
} from '../../pki/tuf/build.ts'
import { encodeEnvelope, signBytes } from '../../pki/tuf/envelope.ts'
import type { LogHead } from '../../pki/tuf/log-entry.ts'
import { latestExpiry } from '../../pki/tuf/publish-check.ts'
import type { DirectorTarget, Policy } from '../../pki/tuf/types.ts'
import type { OnlineKey, OnlineKeys } from '../metadata/online-keys.ts'

/** What the director says to one device, before versions and expiry. Empty `targets`: nothing to install. */
export interface DirectorContent {
  deviceId: string
  deploymentId?: string
  policy?: Policy
  /** Of several targets, the component that the deployment is about. */
  main?: string
  targets: Record<string, DirectorTarget>
}

export interface DirectorFiles {
  targetsVersion: number
  snapshotVersion: number
  /** Exact texts. */
  targets: string
  snapshot: string
  /** Of both. */
  expiresAt: Date
}

/** Signs the two director files that change only with the content (updates.md 2.2: one key each). */
export function signDirectorFiles(
  keys: OnlineKeys['director'],
  content: DirectorContent,
  {
    targetsVersion,
    snapshotVersion,
    now,
  }: Pick<DirectorFiles, 'targetsVersion' | 'snapshotVersion'> & { now: Date },
): DirectorFiles {
  const expiresAt = latestExpiry('snapshot', now)
  const targets = signedBy(
    keys.targets,
    buildDirectorTargets({ ...content, version: targetsVersion, expiresAt }),
  )
  const listed = metaFileOf(targets, targetsVersion)
  const snapshot = signedBy(
    keys.snapshot,
    buildDirectorSnapshot({ targets: listed, version: snapshotVersion, expiresAt }),
  )
  return {
    targetsVersion,
    snapshotVersion,
    targets: targets.toString(),
    snapshot: snapshot.toString(),
    expiresAt,
  }
}

/** The answer to one question: a device's nonce comes back with the time, under the timestamp key (updates.md 2.5). */
export function signDirectorTimestamp(
  keys: OnlineKeys['director'],
  files: Pick<DirectorFiles, 'snapshot' | 'snapshotVersion'>,
  { version, nonce, log, now }: { version: number; nonce?: string; log?: LogHead; now: Date },
): string {
  const signed = buildDirectorTimestamp({
    version,
    expiresAt: latestExpiry('timestamp', now),
    snapshot: metaFileOf(Buffer.from(files.snapshot), files.snapshotVersion),
    ...(nonce === undefined ? {} : { answer: { nonce, at: now } }),
    ...(log && { log }),
  })
  return signedBy(keys.timestamp, signed).toString()
}

function signedBy({ privateKey }: OnlineKey, signed: Buffer): Buffer {
  return encodeEnvelope(signed, [signBytes(signed, privateKey)])
}
