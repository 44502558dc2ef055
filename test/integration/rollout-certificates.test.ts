import { afterAll, beforeAll, expect, test } from 'vitest'

import { parseCertificate } from '../../pki/x509/parse.ts'
import { actOnAuthority } from '../../server/authorities/service.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { certificateWorker, followCertificates } from '../../server/deployments/certificates.ts'
import { endCancelled, endOverdue } from '../../server/deployments/end.ts'
import { endClosed } from '../../server/deployments/window-close.ts'
import { sendRenewalHints } from '../../server/enrollment/renewal-hint.ts'
import { newId } from '../../server/ids.ts'
import { bucketOf } from '../../server/rollouts/bucket.ts'
import { createLookLimit, driveRollouts } from '../../server/rollouts/drive.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { previewRollout } from '../../server/rollouts/preview.ts'
import { getRollout } from '../../server/rollouts/store.ts'
import { createTestDatabase } from '../support/database.ts'
import { by, type Enrolled } from '../support/identity-world.ts'
import { createRenewalWorld, type RenewalWorld, wholeGroup } from '../support/renewal-world.ts'
import { StatementCounter } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RenewalWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createRenewalWorld(handle)
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

test('a change of the issuer in phases: told, issued, used; and then it is over', async () => {
  const { groupId, devices, ids } = await world.givenFleet(12)
  const issuer = await world.givenIssuer()
  const half = [
    { ...wholeGroup, no: 1, percent: 50 },
    { ...wholeGroup, no: 2 },
  ]
  const rolloutId = await world.givenCampaign(groupId, { certificate_issuer: issuer }, half)
  await world.splitFairly(rolloutId, ids)
  const { seed } = await getRollout(handle.db, rolloutId)
  await expect(previewRollout(world.ctx, rolloutId)).rejects.toMatchObject({ code: 'not-ready' })
  // Without the rollout the new issuer would have told them all by now, over a week.
  expect(await world.hint(ids)).toEqual([])
  await expect(world.renewOne(devices[0] as Enrolled)).rejects.toMatchObject({
    code: 'not-allowed',
  })

  await world.act(rolloutId, 'start')
  const first = await world.hint(ids)
  expect(first).toEqual(ids.filter((one) => bucketOf(seed, one) < 0.5).toSorted())
  const [one] = world.sent()
  const at = new Date(world.ctx.clock.now().getTime() + 10_000).toISOString()
  expect(one?.body).toMatchObject({ command: 'renew', at })
  expect(new Set(Object.values(await world.statesOf(rolloutId)))).toEqual(new Set(['accepted']))
  // Told again, and nothing is written twice.
  expect(await world.hint(ids)).toEqual(first)

  const inPhase = devices.filter(({ deviceId }) => first.includes(deviceId))
  const made: Buffer[] = []
  for (const device of inPhase) made.push(await world.renewOne(device))
  await followCertificates(world.ctx, ids)
  expect(new Set(Object.values(await world.statesOf(rolloutId)))).toEqual(new Set(['testing']))
  expect(await world.hint(ids)).toEqual([])
  for (const der of made) await world.use(der)
  await followCertificates(world.ctx, ids)
  await followCertificates(world.ctx, ids)
  expect(new Set(Object.values(await world.statesOf(rolloutId)))).toEqual(new Set(['succeeded']))
  expect(made.map((der) => parseCertificate(der).issuer)).toEqual(
    made.map(() => world.ctx.authorities.devices.certificate.subject),
  )

  await driveRollouts(world.ctx, createLookLimit())
  expect(await getRollout(handle.db, rolloutId)).toMatchObject({ state: 'running', phase_no: 2 })
  const second = await world.hint(ids)
  expect(second.toSorted()).toEqual(ids.filter((one) => !first.includes(one)).toSorted())
  for (const device of devices.filter(({ deviceId }) => second.includes(deviceId))) {
    await world.use(await world.renewOne(device))
  }
  await followCertificates(world.ctx, ids)
  await driveRollouts(world.ctx, createLookLimit())
  expect(await getRollout(handle.db, rolloutId)).toMatchObject({ state: 'completed' })
  const { rows } = await handle.db
    .selectFrom('deployment_event')
    .innerJoin('deployment', 'deployment.id', 'deployment_event.deployment_id')
    .select(['to_state', 'actor'])
    .where('device_id', '=', first[0] ?? '')
    .orderBy('seq')
    .execute()
    .then((found) => ({ rows: found.map(({ to_state, actor }) => `${to_state} ${actor}`) }))
  expect(rows).toEqual(['queued engine', 'accepted engine', 'testing device', 'succeeded device'])
})

test('bounds hold for renewals too: the first so many, and no more at once than may be', async () => {
  const { groupId, ids } = await world.givenFleet(5)
  const issuer = await world.givenIssuer()
  const target = { certificate_issuer: issuer, max_in_flight: 2 }
  const first = { ...wholeGroup, kind: 'count' as const, percent: null, count: 3 }
  const rolloutId = await world.givenCampaign(groupId, target, [first])
  await world.act(rolloutId, 'start')
  expect(await world.hint(ids)).toHaveLength(2)
  expect(await world.hint(ids)).toHaveLength(2)
  expect(Object.values(await world.statesOf(rolloutId))).toEqual(['accepted', 'accepted'])
})

test('a window with a hard end is about updates: renewals go on', async () => {
  const { groupId, ids } = await world.givenFleet(1)
  const issuer = await world.givenIssuer()
  const rolloutId = await world.givenCampaign(groupId, { certificate_issuer: issuer })
  const at = world.ctx.clock.now()
  const tomorrow = new Date(at.getTime() + 43_200_000).getUTCHours()
  const rule = { cron: `0 ${tomorrow} * * *`, duration: 'PT1H', zone: 'UTC', hardClose: true }
  await handle.db
    .insertInto('maintenance_window')
    .values({
      id: newId(at),
      device_id: ids[0] ?? '',
      rule: JSON.stringify(rule),
      created_by: 'key:test',
      created_at: at,
      changed_at: at,
    })
    .execute()
  await world.act(rolloutId, 'start')
  await world.hint(ids)
  await endClosed(world.ctx)
  expect(Object.values(await world.statesOf(rolloutId))).toEqual(['accepted'])
})

test('renewal before its time: everything made before an instant', async () => {
  const { groupId, devices, ids } = await world.givenFleet(2)
  world.ctx.clock.advance({ seconds: 1 })
  const before = world.ctx.clock.now()
  world.ctx.clock.advance({ seconds: 1 })
  const rolloutId = await world.givenCampaign(groupId, { certificate_before: before })
  await world.act(rolloutId, 'start')
  expect(await world.hint(ids)).toEqual(ids.toSorted())
  for (const device of devices) await world.use(await world.renewOne(device))
  await followCertificates(world.ctx, ids)
  expect(Object.values(await world.statesOf(rolloutId))).toEqual(['succeeded', 'succeeded'])
  await driveRollouts(world.ctx, createLookLimit())
  expect(await getRollout(handle.db, rolloutId)).toMatchObject({ state: 'completed' })
})

test('a refused renewal has failed, with the reason; three of three stop the rollout', async () => {
  const { groupId, profile, devices, ids } = await world.givenFleet(4)
  await world.base.givenEstPolicy(profile.id, { renewal: { key: 'new' } })
  const issuer = await world.givenIssuer()
  const rolloutId = await world.givenCampaign(groupId, { certificate_issuer: issuer })
  await world.act(rolloutId, 'start')
  await world.hint(ids)
  for (const device of devices.slice(0, 3)) {
    await expect(world.renewOne(device, device.key)).rejects.toMatchObject({
      code: 'invalid-request',
    })
  }
  expect(await getRollout(handle.db, rolloutId)).toMatchObject({ state: 'paused' })
  const row = await handle.db
    .selectFrom('deployment')
    .selectAll()
    .where('device_id', '=', ids[0] ?? '')
    .executeTakeFirstOrThrow()
  expect(row).toMatchObject({
    state: 'failed_final',
    code: 'invalid-request',
    detail: 'This profile wants a new key: make one and ask again',
    component: 'fleetseal:certificate',
    release_id: null,
  })
  // It does after all what it was told: that is a success, late.
  const late = devices[0] as Enrolled
  await world.base.givenEstPolicy(profile.id, { renewal: { opensPercent: 0 } })
  await world.use(await world.renewOne(late))
  await followCertificates(world.ctx, ids)
  expect((await world.statesOf(rolloutId))[late.deviceId]).toBe('succeeded')
})

test('a device that nobody told cannot fail', async () => {
  const { profile, devices } = await world.givenFleet(1)
  await world.base.givenEstPolicy(profile.id, { renewal: { key: 'new' } })
  const [device] = devices
  if (!device) throw new Error('none')
  await expect(world.renewOne(device, device.key)).rejects.toThrow()
  const rows = await handle.db
    .selectFrom('deployment')
    .select('id')
    .where('device_id', '=', device.deviceId)
    .execute()
  expect(rows).toEqual([])
})

test('paused: who was not told is not; cancelled: it is taken back, and nothing holds the change up', async () => {
  const { groupId, ids } = await world.givenFleet(2)
  const issuer = await world.givenIssuer()
  const rolloutId = await world.givenCampaign(groupId, { certificate_issuer: issuer })
  await world.act(rolloutId, 'start')
  // Admitted while the line was cut.
  const { transport } = world.ctx
  world.ctx.transport = { ...transport, send: async () => 'offline' } as unknown as typeof transport
  await sendRenewalHints(world.ctx, ids)
  world.ctx.transport = transport
  expect(Object.values(await world.statesOf(rolloutId))).toEqual(['queued', 'queued'])
  await world.act(rolloutId, 'pause')
  expect(await world.hint(ids)).toEqual([])
  await world.act(rolloutId, 'resume')
  expect(await world.hint(ids)).toEqual(ids.toSorted())
  await world.act(rolloutId, 'cancel')
  await endCancelled(world.ctx)
  expect(Object.values(await world.statesOf(rolloutId))).toEqual(['cancelled', 'cancelled'])
  // From now on it goes by itself, over a week.
  world.ctx.clock.advance({ seconds: 7 * 86_400 })
  expect(await world.hint(ids)).toEqual(ids.toSorted())
  world.ctx.clock.advance({ seconds: -7 * 86_400 })
})

test('a told device that does nothing is lost, and found again by what it does', async () => {
  const { groupId, devices, ids } = await world.givenFleet(1)
  const issuer = await world.givenIssuer()
  const rolloutId = await world.givenCampaign(groupId, { certificate_issuer: issuer })
  await world.act(rolloutId, 'start')
  await world.hint(ids)
  world.ctx.clock.advance({ seconds: 86_401 })
  await endOverdue(world.ctx)
  expect(Object.values(await world.statesOf(rolloutId))).toEqual(['lost'])
  const [device] = devices
  await world.base.givenEstPolicy((await profileOf(ids[0] ?? '')) ?? '', {
    renewal: { opensPercent: 0 },
  })
  const der = await world.renewOne(device as Enrolled)
  await followCertificates(world.ctx, ids)
  expect(Object.values(await world.statesOf(rolloutId))).toEqual(['lost'])
  await world.use(der)
  await followCertificates(world.ctx, ids)
  expect(Object.values(await world.statesOf(rolloutId))).toEqual(['succeeded'])
  world.ctx.clock.advance({ seconds: -86_401 })
})

async function profileOf(deviceId: string) {
  const row = await handle.db
    .selectFrom('device')
    .select('enrollment_profile_id')
    .where('id', '=', deviceId)
    .executeTakeFirstOrThrow()
  return row.enrollment_profile_id
}

test('the worker hears of an issued and a used certificate', async () => {
  const { groupId, devices, ids } = await world.givenFleet(1)
  const issuer = await world.givenIssuer()
  const rolloutId = await world.givenCampaign(groupId, { certificate_issuer: issuer })
  await world.act(rolloutId, 'start')
  const worker = certificateWorker(world.ctx)
  const signal = new AbortController().signal
  while (await worker.step(signal)) {}
  await world.hint(ids)
  const der = await world.renewOne(devices[0] as Enrolled)
  while (await worker.step(signal)) {}
  expect(Object.values(await world.statesOf(rolloutId))).toEqual(['testing'])
  await world.use(der)
  while (await worker.step(signal)) {}
  expect(Object.values(await world.statesOf(rolloutId))).toEqual(['succeeded'])
})

test('updates and renewals of a device do not see each other', async () => {
  const { groupId, ids } = await world.givenFleet(1)
  const issuer = await world.givenIssuer()
  const rolloutId = await world.givenCampaign(groupId, { certificate_issuer: issuer })
  await world.act(rolloutId, 'start')
  expect(await meetDevices(world.ctx, ids)).toEqual([])
  await world.hint(ids)
  expect(Object.values(await world.statesOf(rolloutId))).toEqual(['accepted'])
  // A second rollout of certificates waits until the first one is done with the device.
  const second = await world.givenCampaign(groupId, { certificate_issuer: issuer })
  await world.act(second, 'start')
  await world.hint(ids)
  expect(await world.statesOf(second)).toEqual({})
})

test('a hello of a device that no rollout of certificates is about costs no more than before', async () => {
  const { ids } = await world.givenFleet(3)
  const counter = new StatementCounter()
  const counted = { ...world.ctx, db: handle.db.withPlugin(counter) }
  // The certificates, and the rules of their profiles.
  expect(await counter.during(() => sendRenewalHints(counted, ids))).toBe(2)
})

test('what makes no sense is refused', async () => {
  const groupId = await world.base.givenGroup()
  const windowed = {
    install_window: { cron: '0 1 * * *', duration: 'PT4H', zone: 'Europe/Berlin' },
  }
  const now = { certificate_before: world.ctx.clock.now() }
  await expect(world.givenCampaign(groupId, { ...now, ...windowed })).rejects.toMatchObject({
    code: 'invalid-request',
  })
  expect(await world.givenCampaign(groupId, now)).toBeDefined()
  const later = new Date(world.ctx.clock.now().getTime() + 1_000)
  await expect(world.givenCampaign(groupId, { certificate_before: later })).rejects.toMatchObject({
    code: 'invalid-request',
  })
  await expect(
    world.givenCampaign(groupId, { certificate_issuer: newId(world.ctx.clock.now()) }),
  ).rejects.toMatchObject({
    code: 'not-found',
  })
  const prepared = await world.givenIssuer(false)
  const rolloutId = await world.givenCampaign(groupId, { certificate_issuer: prepared })
  await expect(world.act(rolloutId, 'start')).rejects.toMatchObject({ code: 'not-ready' })
  await actOnAuthority(world.ctx, { id: prepared, action: 'activate', ...by })
  expect(await world.act(rolloutId, 'start')).toMatchObject({ state: 'running' })
  await world.givenIssuer()
  const old = await world
    .givenCampaign(groupId, { certificate_issuer: prepared })
    .catch((error: unknown) => error)
  expect(old).toMatchObject({ code: 'not-ready' })
})
