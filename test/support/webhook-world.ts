import { randomUUID } from 'node:crypto'

import { afterAll, beforeAll, test } from 'vitest'

import { loadConfig } from '../../server/config.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { enqueueAll, type OutboxEvent } from '../../server/outbox/outbox.ts'
import { Courier } from '../../server/webhooks/courier.ts'
import { relayEvents } from '../../server/webhooks/relay.ts'
import { startApi, type TestApi } from './api.ts'
import { createEmbeddedDatabase, createTestDatabase } from './database.ts'
import { type Receiver, startReceiver } from './webhook-receiver.ts'

export interface WebhookWorld extends AsyncDisposable {
  api: TestApi
  receiver: Receiver
  courier: Courier
  /** Makes an endpoint at the receiver. */
  given: (body?: object) => Promise<{ id: string; secret: string }>
  /** Puts `device.state-changed` of these devices into the outbox, one transaction each. */
  happen: (deviceIds: readonly string[]) => Promise<void>
  /** Hands on and delivers until nothing is due. */
  deliver: () => Promise<void>
  show: (id: string) => Promise<Record<string, unknown>>
}

export const newDevice = (): string => randomUUID()

/** Webhooks on a test database with a receiver of their own, without the workers' loops. Clean: no endpoint, no event. */
export async function createWebhookWorld(handle: DatabaseHandle): Promise<WebhookWorld> {
  const stack = new AsyncDisposableStack()
  const config = loadConfig({ FLEETSEAL_WEBHOOK_PRIVATE: 'allow' })
  const api = stack.use(await startApi(handle, { config }))
  const receiver = stack.use(await startReceiver())
  const courier = stack.use(new Courier(api.ctx))
  return {
    api,
    receiver,
    courier,
    given: async (body = {}) => {
      const made = await api.call('POST', '/webhooks', {
        url: receiver.url,
        types: ['device.state-changed', 'device.enrolled'],
        ...body,
      })
      if (made.status !== 201) throw new Error(made.text)
      return { id: String(made.body['id']), secret: String(made.body['secret']) }
    },
    happen: async (deviceIds) => {
      for (const deviceId of deviceIds) {
        // Ids are in the order of time, by the millisecond.
        api.ctx.clock.advance({ seconds: 0.001 })
        await inTransaction(handle.db, (tx) =>
          enqueueAll(tx, [changed(deviceId, api.ctx.clock.now())]),
        )
      }
    },
    deliver: async () => {
      while (await relayEvents(api.ctx)) continue
      await courier.deliverDue()
    },
    show: async (id) => (await api.call('GET', `/webhooks/${id}`)).body,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

export function changed(deviceId: string, at: Date): OutboxEvent {
  const data = { from: 'active', to: 'disabled', reason: 'lost' }
  return { type: 'device.state-changed', at, deviceId, subject: deviceId, data }
}

async function forgetWebhooks({ db }: DatabaseHandle): Promise<void> {
  await db.deleteFrom('webhook_endpoint').execute()
  await db.deleteFrom('outbox_event').execute()
}

type Kind = 'PostgreSQL' | 'PGlite'
type Work = (world: WebhookWorld & { handle: DatabaseHandle }) => Promise<void>
type Story = (name: string, work: Work) => void

/**
 * What to write instead of `test`: each with a world of its own, on a database of the file. `everywhere` is for what there is of SQL: it
 * runs on both kinds of databases.
 */
export function webhookStories(): { story: Story; everywhere: Story } {
  const handles = new Map<Kind, DatabaseHandle>()
  beforeAll(async () => {
    handles.set('PostgreSQL', await createTestDatabase())
    handles.set('PGlite', await createEmbeddedDatabase())
  })
  afterAll(async () => {
    for (const handle of handles.values()) await handle[Symbol.asyncDispose]()
  })
  const on = (kind: Kind, name: string, work: Work) =>
    test(`${kind}: ${name}`, { timeout: 60_000 }, async () => {
      const handle = handles.get(kind)
      if (!handle) throw new Error(`no ${kind}`)
      await forgetWebhooks(handle)
      await using world = await createWebhookWorld(handle)
      await work({ ...world, handle })
    })
  return {
    story: (name, work) => on('PostgreSQL', name, work),
    everywhere: (name, work) => {
      on('PostgreSQL', name, work)
      on('PGlite', name, work)
    },
  }
}

export async function deliveriesOf({ api }: WebhookWorld, id: string, query = '') {
  return (await api.call('GET', `/webhooks/${id}/deliveries?limit=200${query}`)).body.items ?? []
}
