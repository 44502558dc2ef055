import { setTimeout as sleep } from 'node:timers/promises'

import { expect } from 'vitest'

import { loadConfig } from '../../server/config.ts'
import { Courier } from '../../server/webhooks/courier.ts'
import { relayEvents } from '../../server/webhooks/relay.ts'
import { deliveriesOf, newDevice, webhookStories } from '../support/webhook-world.ts'

const { story } = webhookStories()

story('two processes at once deliver each event once, in order for each device', async (world) => {
  await world.given()
  const devices = Array.from({ length: 10 }, newDevice)
  for (let round = 0; round < 3; round++) await world.happen(devices)
  await using other = new Courier(world.api.ctx)
  // Long enough for the other process to look for something to do meanwhile.
  world.receiver.answer((_call, res) => void setTimeout(() => res.writeHead(200).end(), 5))
  const relay = async () => {
    while (await relayEvents(world.api.ctx)) continue
  }
  await Promise.all([relay(), relay()])
  await relay()
  await Promise.all([world.courier.deliverDue(), other.deliverDue()])
  // What the other process had in hand while this one looked is due in the next round.
  for (let n = 0; n < 50 && world.receiver.calls.length < 30; n++) {
    await Promise.all([world.courier.deliverDue(), other.deliverDue()])
    await sleep(5)
  }
  expect(world.receiver.calls).toHaveLength(30)
  expect(new Set(world.receiver.calls.map(({ id }) => id)).size).toBe(30)
  for (const device of devices) {
    const ids = world.receiver.calls
      .filter(({ event }) => event.deviceId === device)
      .map(({ id }) => id)
    expect(ids).toEqual(ids.toSorted())
  }
})

story(
  'what a process had in hand when it died is delivered by another, with the same id',
  async (world) => {
    const { id } = await world.given()
    await world.happen([newDevice()])
    let first: (() => void) | undefined
    const called = new Promise<void>((resolve) => {
      first = resolve
    })
    world.receiver.answer(() => first?.())
    while (await relayEvents(world.api.ctx)) continue
    const dying = new Courier(world.api.ctx)
    const never = dying.deliverDue()
    await called
    world.receiver.answer(200)
    // It never tells what came of its call: its connection to the database is gone as far as this one knows.
    await world.courier.deliverDue()
    expect(world.receiver.calls).toHaveLength(1)
    world.api.ctx.clock.advance({ seconds: 61 })
    await world.courier.deliverDue()
    expect(world.receiver.calls).toHaveLength(2)
    expect(world.receiver.calls[1]?.id).toBe(world.receiver.calls[0]?.id)
    expect(await deliveriesOf(world, id)).toMatchObject([{ state: 'delivered', attempts: 2 }])
    await dying[Symbol.asyncDispose]()
    await never
    expect(await deliveriesOf(world, id)).toMatchObject([{ state: 'delivered', attempts: 2 }])
  },
)

story(
  'a full backlog misses what comes after it, says so once there is room, and it can be asked for',
  async (world) => {
    const { id } = await world.given()
    const { ctx } = world.api
    const from = ctx.clock.now()
    world.receiver.answer(503)
    await world.happen(Array.from({ length: 15 }, newDevice))
    while (await relayEvents(ctx, 10)) continue
    expect(await world.show(id)).toMatchObject({ waiting: 10, missed: 5 })
    const events =
      (await world.api.call('GET', '/events?kind=webhook-backlog-full')).body.items ?? []
    expect(events).toHaveLength(1)
    world.receiver.answer(200)
    await world.courier.deliverDue()
    while (await relayEvents(ctx, 10)) continue
    while (await relayEvents(ctx, 10)) continue
    await world.courier.deliverDue()
    const gap = world.receiver.calls.find(({ event }) => event.type === 'webhook.gap')
    expect(gap?.event['data']).toMatchObject({ missed: 5 })
    expect(await world.show(id)).toMatchObject({ missed: 0 })
    const replay = { from: from.toISOString() }
    await world.api.call('POST', `/webhooks/${id}/replays`, replay)
    await world.courier.deliverDue()
    const devices = world.receiver.calls.map(({ event }) => event.deviceId)
    expect(new Set(devices.filter((one) => one !== null)).size).toBe(15)
  },
)

story(
  'a private address is neither taken nor called, also when a name leads to it',
  async (world) => {
    const config = loadConfig({})
    const ctx = { ...world.api.ctx, config }
    const { id } = await world.given({ url: world.receiver.url.replace('127.0.0.1', 'localhost') })
    await world.happen([newDevice()])
    while (await relayEvents(ctx)) continue
    await using strict = new Courier(ctx)
    await strict.deliverDue()
    expect(world.receiver.calls).toEqual([])
    const [refused] = await deliveriesOf(world, id)
    expect(String(refused?.['lastError'])).toMatch(/https|private/)
    await world.handle.db
      .updateTable('webhook_endpoint')
      .set({ url: 'https://localhost/hook', retry_at: null })
      .execute()
    ctx.clock.advance({ seconds: 60 })
    await strict.deliverDue()
    const [private_] = await deliveriesOf(world, id)
    expect(String(private_?.['lastError'])).toContain('private network')
    const made = (url: string) =>
      world.api.call('POST', '/webhooks', { url, types: ['device.enrolled'] })
    for (const url of ['ftp://example.com', 'https://a:b@example.com', 'nothing']) {
      expect((await made(url)).status).toBe(400)
    }
  },
)
