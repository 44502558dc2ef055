import type { Context } from '../context.ts'
import type { Worker } from '../workers/worker.ts'
import { judgeEvents } from './judge.ts'
import { sendMails } from './mailer.ts'

const idleMs = 1_000

export function alertWorkers(ctx: Pick<Context, 'db' | 'clock' | 'config'>): Worker[] {
  return [
    { name: 'alerts', idleMs, step: async () => await judgeEvents(ctx) },
    { name: 'alert-mails', idleMs, step: async () => await sendMails(ctx) },
  ]
}
