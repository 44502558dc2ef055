import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'

import { readKeyText, SealedFileError, type SealingKey } from '../../pki/sealed/sealed-file.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { newId } from '../ids.ts'
import { productVersion } from '../product.ts'
import type { Worker } from '../workers/worker.ts'
import { BackupError } from './backup-error.ts'
import { createBackup } from './create.ts'
import type { BackupSummary } from './manifest.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'config' | 'log'>
type Settings = NonNullable<Context['config']['backup']>

export interface BackupFile {
  name: string
  bytes: number
  madeAt: Date
}

export interface Backups {
  /** Newest first. */
  files: BackupFile[]
  running: string | undefined
  /** Of the last attempt of this process, when it failed. */
  failure: { name: string; detail: string } | undefined
}

const namePattern = /^fleetseal-\d{8}T\d{6}Z-[0-9a-f]{8}\.backup$/
const maxKeyBytes = 4_096

/** What this process does now, and how its last attempt went. One at a time. */
interface Progress {
  running?: string
  failure?: { name: string; detail: string }
}
const progress = new WeakMap<Db, Progress>()

export async function listBackups({ db, config }: Pick<Deps, 'db' | 'config'>): Promise<Backups> {
  const { running, failure } = progress.get(db) ?? {}
  return { files: config.backup ? await filesIn(config.backup.dir) : [], running, failure }
}

/**
 * Begins a backup and answers its name; `listBackups` says when it is there.
 *
 * @throws DomainError `not-ready` when none are set up here, `conflict` while another one is being made
 */
export async function startBackup(
  ctx: Deps,
  by: { actor: string; requestId?: string },
): Promise<string> {
  const settings = needed(ctx.config)
  const name = nameOf(ctx.clock.now())
  const now = begin(ctx.db, name)
  const key = await readKey(settings.keyFile).catch((error: unknown) => {
    failed(ctx, now, { name, error })
    throw error
  })
  void make(ctx, { settings, key, name, by }).catch(() => {})
  return name
}

/** Makes one when the newest is too old, and removes those above the number that is kept. */
export function backupWorkers(ctx: Deps): Worker[] {
  const { backup } = ctx.config
  if (!backup) return []
  const step = async () => {
    const [newest] = await filesIn(backup.dir)
    const now = ctx.clock.now()
    if (newest && now.getTime() - newest.madeAt.getTime() < backup.everyMs) return false
    if (progress.get(ctx.db)?.running !== undefined) return false
    const name = nameOf(now)
    const state = begin(ctx.db, name)
    const key = await readKey(backup.keyFile).catch((error: unknown) => {
      failed(ctx, state, { name, error })
      throw error
    })
    await make(ctx, { settings: backup, key, name, by: { actor: 'system' } })
    return false
  }
  return [{ name: 'backup', idleMs: 60_000, step }]
}

function needed({ backup }: Context['config']): Settings {
  if (backup) return backup
  throw new DomainError(
    'not-ready',
    'No backups are set up: set FLEETSEAL_BACKUP_DIR and FLEETSEAL_BACKUP_KEY_FILE, and start again',
  )
}

function begin(db: Db, name: string): Progress {
  const state = progress.get(db) ?? {}
  progress.set(db, state)
  if (state.running !== undefined) {
    throw new DomainError('conflict', 'A backup is being made: wait until it is there', {
      running: state.running,
    })
  }
  state.running = name
  return state
}

async function readKey(file: string): Promise<SealingKey> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new DomainError(
      'not-ready',
      'FLEETSEAL_BACKUP_KEY_FILE cannot be read',
      {},
      { cause: error },
    )
  })
  try {
    const key = readKeyText(text.slice(0, maxKeyBytes))
    if ('secret' in key) throw new SealedFileError('It is a secret key: give the recipient instead')
    return key
  } catch (error) {
    if (!(error instanceof SealedFileError)) throw error
    throw new DomainError('not-ready', `FLEETSEAL_BACKUP_KEY_FILE: ${error.message}`)
  }
}

interface Making {
  settings: Settings
  key: SealingKey
  name: string
  by: { actor: string; requestId?: string }
}

async function make(ctx: Deps, { settings, key, name, by }: Making): Promise<void> {
  const state = progress.get(ctx.db) ?? {}
  try {
    await mkdir(settings.dir, { recursive: true, mode: 0o700 })
    const { includes } = settings
    const order = { path: join(settings.dir, name), key, includes, now: ctx.clock.now() }
    const made = await createBackup(ctx, { ...order, version: productVersion })
    delete state.failure
    await noteBackup(ctx, name, { made, by })
    await keepNewest(settings)
  } catch (error) {
    failed(ctx, state, { name, error })
    throw error
  } finally {
    delete state.running
  }
}

/** Whatever the attempt failed at, its key too: `fleetseal doctor` and the list say so until one is made. */
function failed(
  { log }: Pick<Deps, 'log'>,
  state: Progress,
  { name, error }: { name: string; error: unknown },
): void {
  const isTold = error instanceof BackupError || error instanceof DomainError
  state.failure = { name, detail: isTold ? error.message : 'see the log of the server' }
  delete state.running
  log.error({ err: error, backup: name }, 'the backup failed')
}

async function noteBackup(
  ctx: Deps,
  name: string,
  { made, by }: { made: BackupSummary; by: Making['by'] },
): Promise<void> {
  const rows = Object.values(made.tables).reduce((sum, count) => sum + count, 0)
  const facts = { rows, artifacts: made.artifacts.count, includes: made.manifest.includes }
  ctx.log.info({ backup: name, ...facts }, 'backup made')
  await inTransaction(ctx.db, async (tx) => {
    await recordAudit(tx, {
      at: ctx.clock.now(),
      ...by,
      action: 'backup.create',
      subject: name,
      facts,
    })
  })
}

async function keepNewest({ dir, keep }: Settings): Promise<void> {
  for (const { name } of (await filesIn(dir)).slice(keep))
    await rm(join(dir, name), { force: true })
}

async function filesIn(dir: string): Promise<BackupFile[]> {
  const names = await readdir(dir).catch(() => [])
  const files: BackupFile[] = []
  for (const name of names.filter((one) => namePattern.test(one))) {
    const found = await stat(join(dir, name)).catch(() => undefined)
    if (found) files.push({ name, bytes: found.size, madeAt: madeAtOf(name) })
  }
  return files.toSorted((a, b) => b.madeAt.getTime() - a.madeAt.getTime())
}

/** By its name: a copy keeps that, and gets another time of change. */
function madeAtOf(name: string): Date {
  const text = name.slice(10, 26)
  return new Date(text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'))
}

function nameOf(now: Date): string {
  const at = now.toISOString().replaceAll(/[-:]|\.\d{3}/g, '')
  return `fleetseal-${at}-${newId(now).slice(-8)}.backup`
}
