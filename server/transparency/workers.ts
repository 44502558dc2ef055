import { createHash } from 'node:crypto'

import { fileEntry } from '../../pki/tuf/log-entry.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import type { Worker } from '../workers/worker.ts'
import { appendEntries } from './service.ts'
import { placeAt, type Published, publishedAfter } from './store.ts'

/** A publication may commit a little after the instant it carries. */
const overlapMs = 3_600_000

/** Logs what was published, by whatever process; the director logs at once what it needs to prove. */
export function transparencyWorkers(
  ctx: Pick<Context, 'db' | 'clock'>,
  { batchSize = 200 } = {},
): Worker[] {
  let place = placeAt(new Date(0))
  return [
    {
      name: 'transparency-log',
      idleMs: 15_000,
      step: async () => {
        const files = await publishedAfter(ctx.db, place, batchSize)
        await logFiles(ctx, files)
        const last = files.at(-1)
        if (files.length === batchSize && last && last.published_at !== null) {
          const { published_at: at, repository, role, version } = last
          place = { at, repository, role, version }
          return true
        }
        place = placeAt(new Date(ctx.clock.now().getTime() - overlapMs))
        return false
      },
    },
  ]
}

const logged = new WeakMap<Db, Set<string>>()
const maxRemembered = 10_000

/** Appends published files that are not in the log yet. Costs nothing for those that this process has seen there. */
export async function logFiles(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  files: readonly Pick<Published, 'repository' | 'role' | 'version' | 'envelope'>[],
): Promise<void> {
  const seen = logged.get(db) ?? new Set<string>()
  logged.set(db, seen)
  const nameOf = ({ repository, role, version }: Omit<Published, 'envelope' | 'published_at'>) =>
    `${repository}/${version}.${role}`
  const added = files.filter((file) => file.envelope !== null && !seen.has(nameOf(file)))
  if (added.length === 0) return
  const entries = added.map(({ repository, role, version, envelope }) => {
    const sha256 = createHash('sha256')
      .update(envelope ?? '')
      .digest('hex')
    return fileEntry({ repository, role, version, sha256 })
  })
  await inTransaction(db, (tx) => appendEntries(tx, entries, clock.now()))
  if (seen.size > maxRemembered) seen.clear()
  for (const file of added) seen.add(nameOf(file))
}
