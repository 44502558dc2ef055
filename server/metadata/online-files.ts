import { createHash } from 'node:crypto'

import { buildSnapshot, buildTimestamp, metaFileOf } from '../../pki/tuf/build.ts'
import { encodeEnvelope, signBytes } from '../../pki/tuf/envelope.ts'
import { latestExpiry } from '../../pki/tuf/publish-check.ts'
import type { PublishedFile } from './current.ts'
import type { OnlineKey, OnlineKeys } from './online-keys.ts'
import type { MetadataFile } from './store.ts'

/** Files of the image repository that the snapshot lists: everything but root, snapshot and timestamp. */
function isListed({ role }: PublishedFile): boolean {
  return role !== 'root' && role !== 'snapshot' && role !== 'timestamp'
}

/**
 * Unix seconds, and always more than before. So a database that was restored from an old backup signs above all
 * that devices may hold already, without having to believe what a device says it holds.
 */
export function nextOnlineVersion(before: number | undefined, now: Date): number {
  return Math.max((before ?? 0) + 1, Math.floor(now.getTime() / 1000))
}

/** A new image snapshot over `files`, every role that is or becomes current. */
export function signSnapshot(
  keys: OnlineKeys['image'],
  files: Iterable<PublishedFile>,
  { version, now }: { version: number; now: Date },
): PublishedFile {
  const meta = Object.fromEntries(
    [...files]
      .filter(isListed)
      .map((file) => [`${file.role}.json`, metaFileOf(Buffer.from(file.text), file.version)]),
  )
  const expiresAt = latestExpiry('snapshot', now)
  const signed = buildSnapshot({ meta, version, expiresAt })
  return onlineFile(keys.snapshot, 'snapshot', { signed, version, expiresAt, now })
}

/** A new image timestamp that names `snapshot`. */
export function signTimestamp(
  keys: OnlineKeys['image'],
  snapshot: PublishedFile,
  { version, now }: { version: number; now: Date },
): PublishedFile {
  const expiresAt = latestExpiry('timestamp', now)
  const listed = metaFileOf(Buffer.from(snapshot.text), snapshot.version)
  const signed = buildTimestamp({ snapshot: listed, version, expiresAt })
  return onlineFile(keys.timestamp, 'timestamp', { signed, version, expiresAt, now })
}

function onlineFile(
  { privateKey }: OnlineKey,
  role: 'snapshot' | 'timestamp',
  file: { signed: Buffer; version: number; expiresAt: Date; now: Date },
): PublishedFile {
  const { signed, version, expiresAt, now } = file
  const text = encodeEnvelope(signed, [signBytes(signed, privateKey)]).toString()
  return { repository: 'image', role, version, text, expiresAt, publishedAt: now }
}

const signedMark = ',"signed":'

/** The row of a published file. Our envelopes end in `,"signed":{…}}` (updates.md 2.1). */
export function publishedRow(file: PublishedFile): MetadataFile {
  const { repository, role, version, text, expiresAt, publishedAt } = file
  const signed = text.slice(text.indexOf(signedMark) + signedMark.length, -1)
  return {
    repository,
    role,
    version,
    state: 'published',
    signed,
    signed_sha256: sha256Of(signed),
    envelope: text,
    expires_at: expiresAt,
    created_at: publishedAt,
    published_at: publishedAt,
  }
}

/** Lower hex. */
export function sha256Of(text: string | Buffer): string {
  return createHash('sha256').update(text).digest('hex')
}
