import { expect, test } from 'vitest'

import { AlertWorld } from '../support/alert-world.ts'

const world = AlertWorld.forFile()
const device = '01890000-0000-7000-8000-00000000000a'
const other = '01890000-0000-7000-8000-00000000000b'
const later = (seconds: number) => world.api.ctx.clock.advance({ seconds })

test('ten thousand events of a kind are one alert with their number, and one mail', async () => {
  await world.rule({ channelIds: [await world.mailChannel()] })
  const many = Array.from({ length: 500 }, (_, n) => ({ facts: { n } }))
  for (let n = 0; n < 20; n++) await world.happen(...many)
  const [alert, ...more] = await world.alerts()
  expect(more).toEqual([])
  expect(alert).toMatchObject({ kind: 'login-failed', count: 10_000, state: 'open' })
  await world.send()
  expect(world.mail.mails).toHaveLength(1)
})

test('below the threshold there is no alert; enough within the window are one, too far apart are none', async () => {
  await world.rule({ threshold: 3, windowSeconds: 600 })
  await world.happen({})
  later(400)
  await world.happen({})
  later(400)
  await world.happen({})
  expect(await world.alerts()).toEqual([])
  later(100)
  await world.happen({})
  expect(await world.alerts()).toMatchObject([{ count: 3 }])
})

test('of events that were left out their number counts', async () => {
  await world.rule({ threshold: 50 })
  await world.happen({}, { facts: { suppressed: 60 } })
  expect(await world.alerts()).toMatchObject([{ count: 62 }])
})

test('kind, severity and source decide', async () => {
  await world.rule({ kinds: 'mqtt-*', minSeverity: 'warning', source: 'server' })
  await world.happen({ kind: 'login-failed' })
  await world.happen({ kind: 'mqtt-tls-failed', severity: 'info' })
  await world.happen({ kind: 'mqtt-tls-failed', source: 'device', deviceId: device })
  expect(await world.alerts()).toEqual([])
  await world.happen(
    { kind: 'mqtt-tls-failed' },
    { kind: 'mqtt-topic-refused', severity: 'critical' },
  )
  const kinds = (await world.alerts()).map(({ kind }) => String(kind))
  expect(kinds.toSorted()).toEqual(['mqtt-tls-failed', 'mqtt-topic-refused'])
})

test('a rule for groups looks at their members only, also for its threshold', async () => {
  const groupId = await world.make('/groups', { name: `g ${crypto.randomUUID()}` })
  const serialNumber = crypto.randomUUID()
  const inside = await world.make('/devices', { serialNumber, groupId })
  await world.rule({ groupIds: [groupId], threshold: 2 })
  await world.happen({ deviceId: other }, { deviceId: other }, {}, { deviceId: inside })
  expect(await world.alerts()).toEqual([])
  await world.happen({ deviceId: inside })
  expect(await world.alerts()).toMatchObject([{ count: 2 }])
})

test('an alert of each device, where the rule says so', async () => {
  await world.rule({ each: 'device' })
  await world.happen({ deviceId: device }, { deviceId: other }, { deviceId: device })
  const counts = (await world.alerts()).map(({ deviceId, count }) => [deviceId, count])
  expect(new Map(counts as [string, number][])).toEqual(
    new Map([
      [device, 2],
      [other, 1],
    ]),
  )
})

test('what thousands of devices do at once is two hundred alerts and one for the others', async () => {
  await world.rule({ each: 'device' })
  await world.happen(...Array.from({ length: 400 }, () => ({ deviceId: crypto.randomUUID() })))
  const { rows } = { rows: await world.handle.db.selectFrom('alert').selectAll().execute() }
  expect(rows).toHaveLength(201)
  expect(rows.find(({ key }) => key === 'login-failed others')).toMatchObject({ count: 200 })
})

test('who acknowledged is not told again; without that again after the quiet time, and not before', async () => {
  await world.rule({ quietSeconds: 600, channelIds: [await world.mailChannel()] })
  const mails = async () => (await world.mails()).length
  await world.happen({})
  await world.happen({})
  expect(await mails()).toBe(1)
  later(700)
  expect(await mails()).toBe(1)
  await world.happen({})
  expect(await mails()).toBe(2)
  const [alert] = await world.alerts()
  const act = async (action: string) =>
    await world.api.call('POST', `/alerts/${String(alert?.['id'])}/actions`, {
      action,
      note: 'seen',
    })
  expect((await act('acknowledge')).body).toMatchObject({ state: 'acknowledged', note: 'seen' })
  later(700)
  await world.happen({})
  expect(await mails()).toBe(2)
  expect(await world.alerts()).toMatchObject([{ count: 4 }])
  expect((await act('resolve')).body).toMatchObject({ state: 'resolved' })
  expect((await act('resolve')).status).toBe(409)
  await world.happen({})
  expect((await world.alerts()).map(({ state }) => String(state)).toSorted()).toEqual([
    'open',
    'resolved',
  ])
  expect(await mails()).toBe(3)
})

test('a webhook is told as its channel, and once also when it asked for alerts anyway', async () => {
  const url = 'http://127.0.0.1:9/hook'
  const quiet = await world.make('/webhooks', { url, types: ['device.enrolled'] })
  const eager = await world.make('/webhooks', { url, types: ['alert.raised'] })
  const channels = await Promise.all(
    [quiet, eager].map(async (endpointId) => {
      const name = `hook ${endpointId}`
      return await world.make('/alert-channels', { name, kind: 'webhook', endpointId })
    }),
  )
  await world.rule({ channelIds: channels })
  await world.happen({ kind: 'login-failed' })
  const events = await world.handle.db
    .selectFrom('outbox_event')
    .select(['type', 'endpoint_id', 'data'])
    .execute()
  const alerts = events.filter(({ type }) => type === 'alert.raised')
  expect(new Set(alerts.map((one) => one.endpoint_id))).toEqual(new Set([null, quiet]))
  expect(alerts).toHaveLength(2)
  expect(alerts[0]?.data).toMatchObject({ kind: 'login-failed', count: 1, again: false })
})

test('at most thirty mails an hour to a channel; the next says how many alerts it was not told', async () => {
  await world.rule({ each: 'device', channelIds: [await world.mailChannel()] })
  const devices = (n: number) =>
    Array.from({ length: n }, () => ({ deviceId: crypto.randomUUID() }))
  await world.happen(...devices(40))
  expect(await world.mails()).toHaveLength(30)
  later(3_700)
  await world.happen(...devices(1))
  const { body } = await world.handle.db
    .selectFrom('alert_mail')
    .select('body')
    .orderBy('created_at', 'desc')
    .executeTakeFirstOrThrow()
  expect(body).toContain('10 more were not mailed')
})

test('a rule that is off does nothing; a name is taken once; a channel that is deleted is out of its rules', async () => {
  const channelId = await world.mailChannel()
  const name = 'once'
  const rule = { name, kinds: '*', channelIds: [channelId] }
  const id = await world.make('/alert-rules', rule)
  expect((await world.api.call('POST', '/alert-rules', rule)).status).toBe(409)
  expect((await world.api.call('POST', '/alert-rules', { name: 'x', kinds: 'A B' })).status).toBe(
    400,
  )
  expect((await world.api.call('DELETE', `/alert-channels/${channelId}`)).status).toBe(204)
  const [view] = (await world.api.call('GET', '/alert-rules')).body.items ?? []
  expect(view).toMatchObject({ id, channelIds: [] })
  await world.api.call('PUT', `/alert-rules/${id}`, { ...rule, channelIds: [], enabled: false })
  await world.happen({})
  expect(await world.alerts()).toEqual([])
})
