import { join } from 'node:path'

import type { OpeningKey } from '../../pki/sealed/sealed-file.ts'
import { openDirectoryStorage } from '../artifacts/directory-storage.ts'
import { recordAudit } from '../audit/audit.ts'
import { dataPaths, installationState, openDataDir, reachState } from '../authorities/data-dir.ts'
import { createAtomically, writeAtomically } from '../authorities/files.ts'
import { opensKekCheck } from '../authorities/kek-check.ts'
import { readKek } from '../authorities/kek.ts'
import { raiseAllRevocationRevs } from '../authorities/revocation-rev.ts'
import { raiseCrlNumbers } from '../certificates/crl-numbers.ts'
import type { Config } from '../config.ts'
import { connectPostgres, type DatabaseHandle, openEmbedded } from '../db/client.ts'
import { migrateToLatest } from '../db/migrate.ts'
import { inTransaction } from '../db/transaction.ts'
import { readArchive } from './archive.ts'
import { BackupError } from './backup-error.ts'
import { type Inspected, inspectBackup } from './inspect.ts'
import { loadTables, openLoader, assertEmpty } from './load.ts'
import { keptFiles } from './manifest.ts'

/** Where to; with PostgreSQL the owner of the tables makes them, when that is another role than the server's. */
export type Target = Pick<Config, 'dataDir' | 'kekFile' | 'databaseUrl'> &
  Partial<Pick<Config, 'migrationDatabaseUrl'>>

export interface RestoreOrder {
  path: string
  key: OpeningKey
  now: Date
}

export interface RestoreReport extends Omit<Inspected, 'kek' | 'kekCheck'> {
  /** Migrations that came after the backup was made. */
  migrated: string[]
  /** What only people can do, in words. */
  next: string[]
}

/**
 * Makes an installation from a backup: a data directory that has none, and an empty database of either kind. What a device or a verifier may have
 * seen since the backup was made is not numbered again: revocation lists go on above any number there can have been (signed metadata is numbered
 * by the clock and does so by itself).
 *
 * @throws BackupError, InstallationError; then nothing is left that a server would start from
 */
export async function restoreBackup(
  config: Target,
  { path, key, now }: RestoreOrder,
): Promise<RestoreReport> {
  const backup = await inspectBackup(path, key)
  const kek = await chooseKek(config, backup)
  await using _directory = await openDataDir(config)
  const state = await installationState(config)
  if (state !== 'creating') {
    throw new BackupError(
      `${config.dataDir} has an installation already: choose another FLEETSEAL_DATA_DIR`,
    )
  }
  await using handle = await openTarget(config)
  const ownerUrl = config.migrationDatabaseUrl
  await load(handle, { path, key, backup, ownerUrl })
  const migrated = await migrateToLatest(handle, ownerUrl)
  await goOnAbove(handle, backup, now)
  await writeFiles(config, { path, key })
  await createAtomically(dataPaths(config).kek, kek)
  await reachState(config, 'created')
  await reachState(config, 'ready')
  const { kek: _secret, kekCheck: _check, ...rest } = backup
  return { ...rest, migrated, next: nextSteps(backup) }
}

/** The key that the backup's keys are wrapped with, from the backup or from FLEETSEAL_KEK_FILE, before anything is written. */
async function chooseKek(
  config: Pick<Config, 'kekFile'>,
  { kek: kept, kekCheck }: Inspected,
): Promise<Buffer> {
  const own = await readKek(config.kekFile)
  const kek = own ?? kept
  if (!kek) {
    throw new BackupError(
      `The backup holds no key-encryption key: put the one of that installation at ${config.kekFile} (FLEETSEAL_KEK_FILE), mode 0600`,
    )
  }
  if (!kekCheck || opensKekCheck(kek, kekCheck)) return kek
  throw new BackupError(
    own && kept
      ? `${config.kekFile} is another key-encryption key than the backup's: move it away`
      : `${config.kekFile} is not the key-encryption key that was in use when the backup was made: it may have been rotated since; take the one from before`,
  )
}

async function openTarget(
  config: Pick<Config, 'dataDir' | 'databaseUrl'>,
): Promise<DatabaseHandle> {
  return config.databaseUrl === undefined
    ? await openEmbedded(dataPaths({ ...config, kekFile: '' }).database)
    : connectPostgres(config.databaseUrl)
}

async function load(
  handle: DatabaseHandle,
  source: { path: string; key: OpeningKey; backup: Inspected; ownerUrl: string | undefined },
): Promise<void> {
  const { path, key, backup, ownerUrl } = source
  await using loader = await openLoader(handle, ownerUrl)
  await assertEmpty(loader)
  await loadTables(loader, { path, key, manifest: backup.manifest })
}

/** More lists than one a second are not made. */
async function goOnAbove(
  { db }: DatabaseHandle,
  { manifest }: Inspected,
  now: Date,
): Promise<void> {
  const passedMs = Math.max(0, now.getTime() - Date.parse(manifest.createdAt))
  const by = 1_000 + Math.ceil(passedMs / 1_000)
  await inTransaction(db, async (tx) => {
    await raiseCrlNumbers(tx, by)
    // So that they are published at the next start, under their new numbers.
    await raiseAllRevocationRevs(tx)
    await recordAudit(tx, {
      at: now,
      actor: 'system',
      action: 'backup.restore',
      subject: 'installation',
      facts: { madeAt: manifest.createdAt, by: manifest.version, from: manifest.database },
    })
  })
}

async function writeFiles(
  config: Pick<Config, 'dataDir' | 'kekFile'>,
  { path, key }: { path: string; key: OpeningKey },
): Promise<void> {
  await using storage = await openDirectoryStorage(join(config.dataDir, 'artifacts'))
  const parts = readArchive(path, key)
  for await (const event of parts) {
    if (event.kind !== 'part') continue
    const file = keptFiles.find((name) => event.name === `file:${name}`)
    if (file !== undefined) {
      const mode = file.endsWith('.pem') ? 0o644 : 0o600
      await writeAtomically(join(config.dataDir, file), Buffer.concat(await restOf(parts)), mode)
    } else if (event.name.startsWith('artifact:')) {
      await using received = await storage.receive(bytesOf(parts), { maxBytes: 2 ** 50 })
      if (`artifact:${received.sha256}` !== event.name)
        throw new BackupError('An artifact is damaged')
      await received.keep()
    }
  }
}

async function* bytesOf(parts: ReturnType<typeof readArchive>): AsyncGenerator<Buffer> {
  for (;;) {
    const { value } = await parts.next()
    if (value?.kind !== 'data') return
    yield value.bytes
  }
}

async function restOf(parts: ReturnType<typeof readArchive>): Promise<Buffer[]> {
  const all: Buffer[] = []
  for await (const bytes of bytesOf(parts)) all.push(bytes)
  return all
}

function nextSteps({ manifest, artifacts, tables }: Inspected): string[] {
  const since = manifest.createdAt
  const missing = (tables['artifact'] ?? 0) - artifacts.count
  return [
    `Whoever was revoked or disabled after ${since} is let in again: repeat it (the last revocation list that was published names them)`,
    `Devices that enrolled or renewed after ${since} are not known: they have to enroll again`,
    `What was published after ${since} is missing: import its signed files again before anything else is published`,
    'Devices have seen a longer transparency log: replace the director timestamp key (docs/transparency.md)',
    ...(missing > 0
      ? [
          `${missing} artifacts are not in the backup: copy them into artifacts/ of the data directory`,
        ]
      : []),
  ]
}
