import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import type { Worker } from '../workers/worker.ts'
import { deleteSeen } from './store.ts'

/** As long as a request may wait for somebody to approve it. */
const rememberMs = 30 * 86_400_000
const batch = 1_000

/** Forgets what nobody comes back for. */
export function scepWorkers({ db, clock }: Pick<Context, 'db' | 'clock'>): Worker[] {
  return [
    {
      name: 'scep-seen',
      idleMs: 3_600_000,
      step: async () => {
        const before = new Date(clock.now().getTime() - rememberMs)
        return (await inTransaction(db, (tx) => deleteSeen(tx, before, batch))) === batch
      },
    },
  ]
}
