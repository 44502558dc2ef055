import { Webhook } from 'standardwebhooks'
import { expect } from 'vitest'

import {
  deliveriesOf,
  newDevice,
  webhookStories,
  type WebhookWorld,
} from '../support/webhook-world.ts'

const hour = 3_600
const { story, everywhere } = webhookStories()

/** What anybody is told of receivers. */
async function ready({ api }: WebhookWorld): Promise<unknown> {
  const response = await fetch(`${api.url}/readyz`)
  return ((await response.json()) as { webhooks: unknown }).webhooks
}

everywhere(
  'an event arrives once, signed as the receiver can verify with the secret it was shown',
  async (world) => {
    const { id, secret } = await world.given()
    const device = newDevice()
    await world.happen([device])
    await world.deliver()
    await world.deliver()
    const [call, ...more] = world.receiver.calls
    expect(more).toEqual([])
    const verified = new Webhook(secret).verify(call?.body ?? '', call?.headers as never)
    expect(verified).toMatchObject({
      type: 'device.state-changed',
      id: call?.id,
      deviceId: device,
      subject: device,
      data: { from: 'active', to: 'disabled', reason: 'lost' },
    })
    expect(() =>
      new Webhook(`whsec_${Buffer.alloc(32).toString('base64')}`).verify(
        call?.body ?? '',
        call?.headers as never,
      ),
    ).toThrow()
    expect(await deliveriesOf(world, id)).toMatchObject([
      { state: 'delivered', attempts: 1, lastStatus: 204, lastError: null, dueAt: null },
    ])
  },
)

everywhere('an endpoint that is limited to groups hears of their members only', async (world) => {
  const [group, other] = await Promise.all(
    ['inside', 'outside'].map(async (name) => {
      const made = await world.api.call('POST', '/groups', { name: `${name} ${newDevice()}` })
      return String(made.body['id'])
    }),
  )
  const register = async (groupId: string | undefined) => {
    const made = await world.api.call('POST', '/devices', { serialNumber: newDevice(), groupId })
    return String(made.body['id'])
  }
  const inside = await register(group)
  const outside = await register(other)
  await world.given({ groupIds: [group] })
  await world.happen([outside, inside, newDevice()])
  await world.deliver()
  expect(world.receiver.calls.map(({ event }) => event.deviceId)).toEqual([inside])
})

everywhere(
  'a later event of a device waits for the earlier one; other devices go on',
  async (world) => {
    await world.given()
    const [a, b, c] = [newDevice(), newDevice(), newDevice()]
    await world.happen([a, b, a, c, a])
    // The first of `a` is not wanted: a refusal of this one, not a receiver that is down.
    let refused = 1
    world.receiver.answer((call, res) => {
      const isRefused = call.event.deviceId === a && refused-- > 0
      res.writeHead(isRefused ? 422 : 200).end()
    })
    await world.deliver()
    const of = (device: string) =>
      world.receiver.calls.filter(({ event }) => event.deviceId === device)
    expect([of(a).length, of(b).length, of(c).length]).toEqual([1, 1, 1])
    world.api.ctx.clock.advance({ seconds: 6 })
    await world.deliver()
    const ids = of(a).map(({ id }) => id)
    expect(ids).toHaveLength(4)
    expect(ids[1]).toBe(ids[0])
    expect(ids.slice(1)).toEqual(ids.slice(1).toSorted())
    expect(new Set(ids.slice(1)).size).toBe(3)
  },
)

everywhere(
  'one event or a time is sent again with the ids it had; what waits is not doubled',
  async (world) => {
    const { id } = await world.given()
    const start = world.api.ctx.clock.now()
    await world.happen([newDevice(), newDevice()])
    world.api.ctx.clock.advance({ seconds: 60 })
    const middle = world.api.ctx.clock.now()
    await world.happen([newDevice()])
    await world.deliver()
    const ids = world.receiver.calls.map((call) => call.id)
    const replay = async (body: object) =>
      await world.api.call('POST', `/webhooks/${id}/replays`, body)
    expect((await replay({ eventId: ids[2] })).body['replayed']).toBe(1)
    expect((await replay({ from: start.toISOString() })).body['replayed']).toBe(2)
    await world.deliver()
    expect(world.receiver.calls.map((call) => call.id).toSorted()).toEqual(
      [...ids, ...ids].toSorted(),
    )
    expect(
      (await replay({ from: start.toISOString(), until: middle.toISOString() })).body['replayed'],
    ).toBe(2)
    expect((await replay({ eventId: newDevice() })).status).toBe(404)
    expect((await replay({})).status).toBe(400)
  },
)

story(
  'a receiver that was down for a while gets everything, in order, once it is back; meanwhile one call at a time asks',
  async (world) => {
    const { id } = await world.given()
    const devices = Array.from({ length: 20 }, newDevice)
    world.receiver.answer(503)
    for (let round = 0; round < 3; round++) await world.happen(devices)
    await world.deliver()
    const first = world.receiver.calls.length
    expect(first).toBeLessThanOrEqual(8)
    for (let minute = 0; minute < 30; minute++) {
      world.api.ctx.clock.advance({ seconds: 60 })
      const before = world.receiver.calls.length
      await world.deliver()
      expect(world.receiver.calls.length - before).toBeLessThanOrEqual(1)
    }
    const { failingSince, ...shown } = await world.show(id)
    expect(shown).toMatchObject({ state: 'active', waiting: 60 })
    expect(await ready(world)).toEqual({ failing: 1, since: failingSince })
    world.receiver.calls.length = 0
    world.receiver.answer(200)
    world.api.ctx.clock.advance({ seconds: 300 })
    await world.deliver()
    expect(new Set(world.receiver.calls.map((call) => call.id)).size).toBe(60)
    for (const device of devices) {
      const ids = world.receiver.calls
        .filter(({ event }) => event.deviceId === device)
        .map((call) => call.id)
      expect(ids).toEqual(ids.toSorted())
      expect(ids).toHaveLength(3)
    }
    expect(world.receiver.mostAtOnce()).toBeLessThanOrEqual(8)
    expect(await world.show(id)).toMatchObject({ waiting: 0, failingSince: null, retryAt: null })
    world.api.ctx.clock.advance({ seconds: 2 })
    expect(await ready(world)).toEqual({ failing: 0, since: null })
  },
)

story(
  'what is refused for three days is a dead letter, the next of its device goes on, and it can be sent again',
  async (world) => {
    const { id } = await world.given()
    const device = newDevice()
    await world.happen([device])
    world.receiver.answer(400)
    for (let at = 0; at <= 80; at += 8) {
      await world.deliver()
      world.api.ctx.clock.advance({ seconds: 8 * hour })
    }
    const [dead] = await deliveriesOf(world, id, '&state=dead')
    expect(dead).toMatchObject({ state: 'dead', lastStatus: 400, lastError: 'it answered 400' })
    expect(Number(dead?.['attempts'])).toBeGreaterThan(5)
    world.receiver.answer(200)
    world.receiver.calls.length = 0
    await world.happen([device])
    await world.deliver()
    expect(world.receiver.calls).toHaveLength(1)
    const replay = async (body: object) =>
      (await world.api.call('POST', `/webhooks/${id}/replays`, body)).body['replayed']
    expect(await replay({ deadLetters: true })).toBe(1)
    expect(await replay({ deadLetters: true })).toBe(0)
    await world.deliver()
    expect(world.receiver.calls[1]?.id).toBe(dead?.['eventId'])
    expect(await deliveriesOf(world, id, '&state=dead')).toEqual([])
  },
)

for (const [what, status] of [
  ['a redirect', 302],
  ['an informal yes', 304],
  ['a refusal', 404],
] as const) {
  story(`${what} is no delivery`, async (world) => {
    const { id } = await world.given()
    await world.happen([newDevice()])
    world.receiver.answer((_call, res) => void res.writeHead(status, { Location: '/other' }).end())
    await world.deliver()
    expect(world.receiver.calls).toHaveLength(1)
    expect(await deliveriesOf(world, id)).toMatchObject([{ state: 'pending', lastStatus: status }])
  })
}
