import { Webhook } from 'standardwebhooks'
import { expect } from 'vitest'

import { inTransaction } from '../../server/db/transaction.ts'
import { rewrapEndpointSecrets } from '../../server/webhooks/service.ts'
import { newDevice, webhookStories } from '../support/webhook-world.ts'

const hour = 3_600
const { story, everywhere } = webhookStories()

everywhere('an endpoint that is deleted takes what waits for it along', async (world) => {
  const { id } = await world.given()
  await world.happen([newDevice()])
  expect((await world.api.call('DELETE', `/webhooks/${id}`)).status).toBe(204)
  await world.deliver()
  expect(world.receiver.calls).toEqual([])
  expect((await world.api.call('GET', `/webhooks/${id}`)).status).toBe(404)
})

story(
  'the secret is shown at creation only, and never stands in the database or the audit log',
  async (world) => {
    const { id, secret } = await world.given()
    expect(secret).toMatch(/^whsec_/)
    expect(JSON.stringify(await world.show(id))).not.toContain('whsec_')
    const row = await world.handle.db
      .selectFrom('webhook_endpoint')
      .selectAll()
      .executeTakeFirstOrThrow()
    expect(row.secret.includes(Buffer.from(secret.slice(6), 'base64'))).toBe(false)
    const audit = (await world.api.call('GET', `/audit?subject=${id}`)).body.items ?? []
    expect(audit.map((entry) => entry['action'])).toEqual(['webhook.create'])
    expect(JSON.stringify(audit)).not.toContain(secret.slice(6))
  },
)

story('nothing is stored of what no active endpoint wants', async (world) => {
  await world.happen([newDevice()])
  const { id } = await world.given({ types: ['device.enrolled'] })
  await world.happen([newDevice()])
  const count = async () =>
    (await world.handle.db.selectFrom('outbox_event').select('id').execute()).length
  expect(await count()).toBe(0)
  await world.api.call('PATCH', `/webhooks/${id}`, { types: ['device.state-changed'] })
  await world.happen([newDevice()])
  expect(await count()).toBe(1)
  await world.api.call('POST', `/webhooks/${id}/actions`, { action: 'disable' })
  await world.happen([newDevice()])
  expect(await count()).toBe(1)
})

story('an endpoint that is new can be told what is kept of before it', async (world) => {
  await world.given()
  const start = world.api.ctx.clock.now()
  await world.happen([newDevice()])
  await world.deliver()
  const { id } = await world.given()
  const replay = { from: start.toISOString() }
  const { body } = await world.api.call('POST', `/webhooks/${id}/replays`, replay)
  expect(body['replayed']).toBe(1)
  await world.deliver()
  expect(world.receiver.calls).toHaveLength(2)
})

story(
  '410 switches an endpoint off at once, and so does a receiver that never answers for three days',
  async (world) => {
    const { id } = await world.given()
    await world.happen([newDevice()])
    world.receiver.answer(410)
    await world.deliver()
    expect(await world.show(id)).toMatchObject({ state: 'disabled', disabledBecause: 'gone' })
    const kinds = async () =>
      ((await world.api.call('GET', '/events?kind=webhook-disabled')).body.items ?? []).length
    const before = await kinds()
    expect(before).toBeGreaterThan(0)
    await world.api.call('POST', `/webhooks/${id}/actions`, { action: 'enable' })
    world.receiver.answer((_call, res) => void res.destroy())
    for (let at = 0; at < 20 && (await world.show(id))['state'] === 'active'; at++) {
      await world.happen([newDevice()])
      await world.deliver()
      world.api.ctx.clock.advance({ seconds: 8 * hour })
    }
    expect(await world.show(id)).toMatchObject({ state: 'disabled', disabledBecause: 'failing' })
    expect(await kinds()).toBe(before + 1)
  },
)

story('while a secret is being replaced both sign; after that the new one alone', async (world) => {
  const { id, secret: old } = await world.given()
  const rotated = await world.api.call('POST', `/webhooks/${id}/actions`, {
    action: 'rotate-secret',
    overlapHours: 1,
  })
  const secret = String(rotated.body['secret'])
  expect(secret).not.toBe(old)
  await world.happen([newDevice()])
  await world.deliver()
  const [call] = world.receiver.calls
  for (const one of [old, secret]) {
    expect(new Webhook(one).verify(call?.body ?? '', call?.headers as never)).toBeTruthy()
  }
  world.api.ctx.clock.advance({ seconds: 2 * hour })
  await world.happen([newDevice()])
  await world.deliver()
  expect(world.receiver.calls[1]?.headers['webhook-signature']).not.toContain(' ')
})

story('a rotation of the key-encryption key reaches both secrets', async (world) => {
  const { id } = await world.given()
  await world.api.call('POST', `/webhooks/${id}/actions`, { action: 'rotate-secret' })
  const next = Buffer.alloc(32, 7)
  await inTransaction(world.handle.db, (tx) => rewrapEndpointSecrets(tx, world.api.ctx.kek, next))
  next.copy(world.api.ctx.kek)
  await world.happen([newDevice()])
  await world.deliver()
  expect(world.receiver.calls[0]?.headers['webhook-signature']).toContain(' ')
})

story(
  'a test arrives at once, also at an endpoint that wants nothing of the kind',
  async (world) => {
    const { id } = await world.given({ types: ['device.enrolled'] })
    const test = () => world.api.call('POST', `/webhooks/${id}/actions`, { action: 'test' })
    expect((await test()).status).toBe(200)
    await world.deliver()
    expect(world.receiver.calls.map(({ event }) => event.type)).toEqual(['webhook.test'])
    await world.api.call('POST', `/webhooks/${id}/actions`, { action: 'disable' })
    expect((await test()).status).toBe(409)
  },
)
