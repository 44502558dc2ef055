import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { canonicalize } from '../../pki/tuf/canonical.ts'
import { encodeEnvelope, signBytes } from '../../pki/tuf/envelope.ts'
import type { TargetsMetadata } from '../../pki/tuf/types.ts'
import type { Db } from '../../server/db/client.ts'
import { type OnlineKeys, onlineKeys } from '../../server/metadata/online-keys.ts'
import type { RunningServer } from './server.ts'

const evil = createHash('sha256').update('evil').digest('hex')

/** The right path, other bytes: what an attacker would most like to have installed. */
export function otherBytes(signed: TargetsMetadata): void {
  for (const target of Object.values(signed.targets)) target.hashes['sha256'] = evil
}

/** A path that the image repository does not know. */
export function unknownImage(signed: TargetsMetadata): void {
  signed.targets = Object.fromEntries(
    Object.values(signed.targets).map((target) => ['fw/gate-2/6.6.6/main.bin', target]),
  )
}

interface Forgery {
  server: RunningServer
  db: Db
  deviceId: string
  /** Changes what the director says to the device. */
  forge: (signed: TargetsMetadata) => void
  /** Keys that were stolen at another time; those of now by default. */
  keys?: OnlineKeys
  /** How far above what the device holds the versions are. */
  ahead?: number
}

/**
 * What somebody can do who owns the server: with its key-encryption key opens the online keys, signs for one device whatever
 * he likes, newer than what it holds, and puts it where the server itself will serve it from.
 */
export async function forgeDirector(forgery: Forgery): Promise<void> {
  const { server, db, deviceId, forge, ahead = 1 } = forgery
  const kek = await readFile(join(server.dataDir, 'kek'))
  const { director } = forgery.keys ?? (await onlineKeys({ db, kek }))
  const row = await db
    .selectFrom('director_state')
    .selectAll()
    .where('device_id', '=', deviceId)
    .executeTakeFirstOrThrow()
  const signed = (JSON.parse(row.targets) as { signed: TargetsMetadata }).signed
  signed.version += ahead
  forge(signed)
  const seal = (value: unknown, key: typeof director.targets) => {
    const bytes = canonicalize(value)
    return encodeEnvelope(bytes, [signBytes(bytes, key.privateKey)])
  }
  const targets = seal(signed, director.targets)
  const before = (JSON.parse(row.snapshot) as { signed: { version: number } }).signed
  const file = {
    hashes: { sha256: createHash('sha256').update(targets).digest('hex') },
    length: targets.length,
    version: signed.version,
  }
  const snapshot = seal(
    { ...before, version: before.version + ahead, meta: { 'targets.json': file } },
    director.snapshot,
  )
  await db
    .updateTable('director_state')
    .set({
      targets: targets.toString(),
      snapshot: snapshot.toString(),
      targets_version: signed.version,
      snapshot_version: before.version + ahead,
    })
    .where('device_id', '=', deviceId)
    .execute()
}

/**
 * The director's timestamp as the thief last answered a device with it: version and time far ahead, under the stolen key. It is put where the
 * device keeps what it verified.
 */
export async function forgeTime({
  dir,
  keys,
  at,
}: {
  /** The device's own folder. */
  dir: string
  keys: OnlineKeys
  at: string
}): Promise<void> {
  const file = join(dir, 'trusted.director.timestamp.json')
  const { signed } = JSON.parse(await readFile(file, 'utf8')) as { signed: object }
  const bytes = canonicalize({ ...signed, expires: at, version: 2 ** 31, 'x-time': at })
  const text = encodeEnvelope(bytes, [signBytes(bytes, keys.director.timestamp.privateKey)])
  await writeFile(file, text)
  await writeFile(join(dir, 'trusted.time'), at)
}
