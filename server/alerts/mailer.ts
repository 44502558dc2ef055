import { createTransport } from 'nodemailer'

import type { Context } from '../context.ts'
import { storable } from '../db/storable.ts'
import { inTransaction } from '../db/transaction.ts'
import { recordEvents } from '../events/record.ts'
import { backOffMs, giveUpMs } from '../webhooks/schedule.ts'
import { claimMails, saveMail } from './mail-store.ts'
import type { Mail } from './store.ts'

const inParallel = 4
/** Of one mail, all of it. */
const sendMs = 30_000
const leaseMs = 120_000

export type MailDeps = Pick<Context, 'db' | 'clock' | 'config'>

interface Sent {
  isDone: boolean
  /** Not worth another attempt: the receiving server refuses it for good. */
  isFinal: boolean
  error: string | null
}

/**
 * Sends mails that are due, a few at the same time. One that its receiver refuses for good, and one that was not taken in three days, is a dead
 * letter.
 *
 * @returns whether there may be more
 */
export async function sendMails(
  { db, clock, config }: MailDeps,
  timeoutMs = sendMs,
): Promise<boolean> {
  const now = clock.now()
  const leaseUntil = new Date(now.getTime() + leaseMs)
  const mails = await inTransaction(db, (tx) =>
    claimMails(tx, { now, leaseUntil, limit: inParallel }),
  )
  await Promise.all(
    mails.map(async (mail) => {
      const sent = await send(config, mail, timeoutMs)
      const at = clock.now()
      const isOver = sent.isFinal || at.getTime() - mail.created_at.getTime() >= giveUpMs
      const state = sent.isDone ? 'delivered' : isOver ? 'dead' : 'pending'
      const dueAt = new Date(at.getTime() + backOffMs(mail.attempts, Math.random()))
      await inTransaction(db, async (tx) => {
        await saveMail(tx, mail, { state, dueAt, error: sent.error }, at)
        if (state !== 'dead') return
        const facts = { mailId: mail.id, channelId: mail.channel_id, error: sent.error }
        const event = { source: 'server', kind: 'alert-mail-dead', severity: 'warning' } as const
        await recordEvents(tx, at, [{ ...event, facts }])
      })
    }),
  )
  return mails.length === inParallel
}

async function send(
  { smtp }: MailDeps['config'],
  { id, recipients, subject, body }: Mail,
  timeoutMs: number,
): Promise<Sent> {
  if (!smtp) return failed(new Error('FLEETSEAL_SMTP_URL is not set'))
  const transport = createTransport({
    host: smtp.host,
    port: smtp.port,
    secure: smtp.isTls,
    // Nothing leaves this machine in the clear.
    requireTLS: !smtp.isTls && !smtp.isLoopback,
    ignoreTLS: !smtp.isTls && smtp.isLoopback,
    ...(smtp.user === undefined ? {} : { auth: { user: smtp.user, pass: smtp.password ?? '' } }),
    connectionTimeout: Math.min(10_000, timeoutMs),
    greetingTimeout: Math.min(10_000, timeoutMs),
    socketTimeout: timeoutMs,
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  const timer = setTimeout(() => transport.close(), timeoutMs)
  const late = new Promise<never>((_, reject) => {
    setTimeout(() => reject(new Error('no answer in time')), timeoutMs).unref()
  })
  try {
    const mail = {
      from: smtp.from,
      to: recipients.map((address) => ({ name: '', address })),
      subject,
      text: body,
      // The same in every attempt: a server that took it before can tell.
      messageId: `<${id}@fleetseal>`,
      headers: { 'Auto-Submitted': 'auto-generated' },
    }
    const { rejected } = await Promise.race([transport.sendMail(mail), late])
    const error = rejected.length === 0 ? null : `not taken for ${rejected.join(', ')}`
    return { isDone: true, isFinal: true, error: error && storable(error).slice(0, 300) }
  } catch (error) {
    return failed(error)
  } finally {
    clearTimeout(timer)
    transport.close()
  }
}

function failed(error: unknown): Sent {
  const text = error instanceof Error ? error.message : String(error)
  const code: unknown = error instanceof Error && 'responseCode' in error ? error.responseCode : 0
  const about: unknown = error instanceof Error && 'code' in error ? error.code : ''
  // Only what is said of this mail: a wrong password is mended by an operator, and the mail is worth keeping.
  const isOfMail = about === 'EENVELOPE' || about === 'EMESSAGE'
  const isFinal = isOfMail && typeof code === 'number' && code >= 500
  return { isDone: false, isFinal, error: storable(text).slice(0, 300) || 'not sent' }
}
