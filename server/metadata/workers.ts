import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { noteEvent } from '../events/record.ts'
import type { Worker } from '../workers/worker.ts'
import { type PublishedFile, readCurrent } from './current.ts'
import { signAgain } from './publish.ts'
import { modelOf, roleNameOf } from './roles.ts'
import { deleteOldTimestamps } from './store.ts'

const hourMs = 3_600_000
const dayMs = 24 * hourMs

/** A timestamp lives 24 h and is signed again after 6 h; a snapshot lives 7 d (updates.md 2.2). */
const timestampAgeMs = 6 * hourMs
const snapshotLeftMs = 3 * dayMs
const keepTimestampsMs = 30 * dayMs

/**
 * When people are told that a role is about to run out: the online ones when signing again must have failed, the others
 * while there is time for people to meet.
 */
const alarmMs: Record<string, number> = {
  timestamp: 12 * hourMs,
  snapshot: 2 * dayMs,
  root: 45 * dayMs,
  targets: 30 * dayMs,
}
const modelAlarmMs = 14 * dayMs

type Deps = Pick<Context, 'db' | 'clock' | 'kek' | 'log' | 'metrics'>

export function metadataWorkers(ctx: Deps): Worker[] {
  const told = new Map<string, number>()
  return [
    {
      name: 'metadata-sign-again',
      idleMs: 60_000,
      step: async () => {
        await signAgainWhenDue(ctx)
        return false
      },
    },
    {
      // Apart from the signing, so that it speaks also when that fails.
      name: 'metadata-expiry-alarm',
      idleMs: 300_000,
      step: async () => {
        await raiseAlarms(ctx, told)
        return false
      },
    },
  ]
}

/** Signs the image timestamp, or it and the snapshot, again when they are old enough. */
export async function signAgainWhenDue(ctx: Deps): Promise<void> {
  const now = ctx.clock.now().getTime()
  const current = await readCurrent(ctx.db)
  const timestamp = current?.image.get('timestamp')
  const snapshot = current?.image.get('snapshot')
  if (!current || !timestamp || !snapshot) return
  const snapshotDue = snapshot.expiresAt.getTime() - now < snapshotLeftMs
  const ageMs = now - timestamp.publishedAt.getTime()
  // Also when the clock was set back: the age is then negative and says nothing.
  const leftMs = timestamp.expiresAt.getTime() - now
  if (!snapshotDue && ageMs < timestampAgeMs && leftMs > dayMs - timestampAgeMs) return
  if (!(await signAgain(ctx, current, { snapshot: snapshotDue }))) return
  ctx.log.info({ snapshot: snapshotDue }, 'image timestamp signed again')
  await inTransaction(ctx.db, (tx) => deleteOldTimestamps(tx, new Date(now - keepTimestampsMs)))
}

/** One critical event a day for every role that is near its end. `told` remembers until when to be silent. */
export async function raiseAlarms(ctx: Deps, told: Map<string, number>): Promise<void> {
  const now = ctx.clock.now().getTime()
  const current = await readCurrent(ctx.db)
  if (!current) return
  const files = [current.director.root, ...current.image.values()]
  showExpiries(ctx, files)
  for (const file of files) {
    const leftMs = file.expiresAt.getTime() - now
    const key = `${roleNameOf(file)} ${file.version}`
    if (leftMs >= alarmOf(file) || (told.get(key) ?? 0) > now) continue
    told.set(key, now + dayMs)
    const facts = {
      role: roleNameOf(file),
      version: file.version,
      expiresAt: file.expiresAt.toISOString(),
    }
    ctx.log.error(facts, 'metadata is about to expire: devices will refuse every update')
    noteEvent(ctx, { source: 'server', kind: 'metadata-expiring', severity: 'critical', facts })
  }
  for (const [key, until] of told) if (until <= now) told.delete(key)
}

function showExpiries({ metrics }: Deps, files: readonly PublishedFile[]): void {
  const earliest = new Map<string, number>()
  for (const file of files) {
    // A label for each model would have no limit.
    const label = modelOf(file) === undefined ? roleNameOf(file) : 'models'
    const seconds = Math.floor(file.expiresAt.getTime() / 1000)
    earliest.set(label, Math.min(seconds, earliest.get(label) ?? seconds))
  }
  for (const [role, seconds] of earliest) metrics.metadataExpires.set({ role }, seconds)
}

function alarmOf({ role }: PublishedFile): number {
  return alarmMs[role] ?? modelAlarmMs
}
