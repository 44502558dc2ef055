import { afterAll, beforeAll, beforeEach } from 'vitest'

import { judgeEvents } from '../../server/alerts/judge.ts'
import { sendMails } from '../../server/alerts/mailer.ts'
import { loadConfig } from '../../server/config.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { recordEvents, type SecurityEvent } from '../../server/events/record.ts'
import { startApi, type TestApi } from './api.ts'
import { createTestDatabase } from './database.ts'
import { type MailServer, startMailServer } from './mail-server.ts'

export type Row = Record<string, unknown>

/** Alerts on a test database with a mail server, without the workers' loops. Without rules, channels and events before each test. */
export class AlertWorld {
  handle!: DatabaseHandle
  api!: TestApi
  mail!: MailServer

  static forFile(): AlertWorld {
    const world = new AlertWorld()
    beforeAll(async () => {
      world.mail = await startMailServer()
      world.handle = await createTestDatabase()
      world.api = await startApi(world.handle, {
        config: loadConfig({
          FLEETSEAL_SMTP_URL: world.mail.url,
          FLEETSEAL_SMTP_FROM: 'fleet@example.com',
          FLEETSEAL_WEBHOOK_PRIVATE: 'allow',
        }),
      })
    })
    afterAll(async () => {
      await world.api[Symbol.asyncDispose]()
      await world.handle[Symbol.asyncDispose]()
      await world.mail[Symbol.asyncDispose]()
    })
    beforeEach(async () => {
      world.mail.answer('take')
      world.mail.mails.length = 0
      const { db } = world.handle
      await db.deleteFrom('alert_rule').execute()
      await db.deleteFrom('alert_channel').execute()
      await db.deleteFrom('webhook_endpoint').execute()
      await db.deleteFrom('outbox_event').execute()
      await db.deleteFrom('security_event').execute()
    })
    return world
  }

  async make(path: string, body: object): Promise<string> {
    const made = await this.api.call('POST', path, body)
    if (made.status !== 201) throw new Error(made.text)
    return String(made.body['id'])
  }

  async mailChannel(...recipients: string[]): Promise<string> {
    const name = `mail ${crypto.randomUUID()}`
    const to = recipients.length === 0 ? ['guard@example.com'] : recipients
    return await this.make('/alert-channels', { name, kind: 'email', recipients: to })
  }

  async rule(body: object = {}): Promise<string> {
    return await this.make('/alert-rules', {
      name: `rule ${crypto.randomUUID()}`,
      kinds: 'login-failed',
      minSeverity: 'info',
      ...body,
    })
  }

  /** Security events, recorded and looked at. */
  async happen(...events: Partial<SecurityEvent>[]): Promise<void> {
    const base = { source: 'server', kind: 'login-failed', severity: 'warning', facts: {} } as const
    this.api.ctx.clock.advance({ seconds: 0.001 })
    await inTransaction(this.handle.db, (tx) =>
      recordEvents(
        tx,
        this.api.ctx.clock.now(),
        events.map((event) => ({ ...base, ...event })),
      ),
    )
    while (await judgeEvents(this.api.ctx)) continue
  }

  async alerts(query = ''): Promise<Row[]> {
    return (await this.api.call('GET', `/alerts?limit=200${query}`)).body.items ?? []
  }

  async mails(query = ''): Promise<Row[]> {
    return (await this.api.call('GET', `/alert-mails?limit=200${query}`)).body.items ?? []
  }

  async send(timeoutMs?: number): Promise<void> {
    while (await sendMails(this.api.ctx, timeoutMs)) continue
  }
}
