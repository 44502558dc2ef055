import { randomBytes, randomUUID } from 'node:crypto'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { ExplanationView } from '../../server/rollouts/explain-wire.ts'
import { explainDevice, explainRollout } from '../../server/rollouts/explain.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { reasonCodes } from '../../server/rollouts/reason-wire.ts'
import { createTestDatabase } from '../support/database.ts'
import { newBuild } from '../support/rollout-given.ts'
import { deploymentIdOf, report } from '../support/rollout-messages.ts'
import {
  act,
  givenDevices,
  givenGroup,
  givenRelease,
  givenRollout,
  installedBuild,
  rolloutWorld,
  type RolloutWorld,
} from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
})
afterAll(() => handle[Symbol.asyncDispose]())

type ReleaseGiven = Parameters<typeof givenRelease>[1]
type DeviceGiven = Parameters<typeof givenDevices>[3]

let models = 0

/** A running rollout to one device, on a model of their own. */
async function givenCase(device: DeviceGiven = {}, release: ReleaseGiven = {}) {
  const model = `model-${++models}`
  const groupId = await givenGroup(world)
  const [id = ''] = await givenDevices(world, groupId, 1, { model, ...device })
  const made = await givenRelease(world, { model, build: newBuild(), ...release })
  const rolloutId = await givenRollout(world, groupId, made.id)
  await act(world, rolloutId, 'start')
  return { model, groupId, device: id, release: made, rolloutId }
}
type Case = Awaited<ReturnType<typeof givenCase>>

async function setRollout(id: string, set: Record<string, unknown>) {
  await world.db.updateTable('rollout').set(set).where('id', '=', id).execute()
}
async function setPhase(id: string, set: Record<string, unknown>) {
  await world.db.updateTable('rollout_phase').set(set).where('rollout_id', '=', id).execute()
}

async function certificateUntil(deviceId: string, hours: number) {
  const now = world.clock.now().getTime()
  const authorityId = randomUUID()
  const at = { created_at: new Date(now) }
  await world.db
    .insertInto('authority')
    .values({
      id: authorityId,
      purpose: 'devices',
      state: 'retired',
      name: authorityId,
      issuer_id: null,
      certificate: Buffer.alloc(1),
      wrapped_key: null,
      key_uri: null,
      revoked_at: null,
      revocation_reason: null,
      key_destroyed_at: null,
      ...at,
    })
    .execute()
  await world.db
    .insertInto('certificate')
    .values({
      id: randomUUID(),
      authority_id: authorityId,
      serial: randomBytes(8),
      kind: 'device',
      state: 'issued',
      device_id: deviceId,
      replaces_id: null,
      enrollment_token_id: null,
      spki_sha256: randomBytes(32),
      request_key: null,
      tbs: Buffer.alloc(1),
      der: Buffer.alloc(1),
      fingerprint: null,
      subject: 'CN=device',
      not_before: new Date(now - 300 * 86_400_000),
      not_after: new Date(now + hours * 3_600_000),
      revoked_at: null,
      revocation_reason: null,
      crl_shard: null,
      held_state: null,
      ...at,
    })
    .execute()
}

/** How each reason comes about. The device is met afterwards: what is told is what happens. */
const cases: Record<(typeof reasonCodes)[number], () => Promise<Case>> = {
  'not-running': async () => {
    const given = await givenCase()
    await act(world, given.rolloutId, 'pause')
    return given
  },
  'not-targeted': async () => {
    const given = await givenCase()
    await setRollout(given.rolloutId, { query: 'attributes.region = "eu"' })
    return given
  },
  'device-blocked': async () => await givenCase({ state: 'disabled' }),
  'certificate-expiring': async () => {
    const given = await givenCase()
    await certificateUntil(given.device, 3)
    return given
  },
  'never-seen': async () => {
    const given = await givenCase()
    await world.db
      .updateTable('device')
      .set({ model: null, installed: '[]' })
      .where('id', '=', given.device)
      .execute()
    return given
  },
  incompatible: async () => await givenCase({}, { requires: { radio: 3 } }),
  'already-current': async () => {
    const given = await givenCase({}, { build: 7 })
    await world.db
      .updateTable('device')
      .set({ installed: JSON.stringify([installedBuild(7)]) })
      .where('id', '=', given.device)
      .execute()
    return given
  },
  downgrade: async () => await givenCase({ installed: [installedBuild(9_999)] }),
  'rolled-back-before': async () => {
    const given = await givenCase()
    await meetDevices(world.ctx, [given.device])
    const id = await deploymentIdOf(world, given.rolloutId, given.device)
    await report(world, given.device, id, 'rolled_back', { code: 'health' })
    const rolloutId = await givenRollout(world, given.groupId, given.release.id)
    await act(world, rolloutId, 'start')
    return { ...given, rolloutId }
  },
  'open-deployment': async () => {
    const given = await givenCase()
    await meetDevices(world.ctx, [given.device])
    const id = await deploymentIdOf(world, given.rolloutId, given.device)
    await report(world, given.device, id, 'downloading')
    const newer = await givenRelease(world, { model: given.model, build: newBuild() })
    const rolloutId = await givenRollout(world, given.groupId, newer.id)
    await act(world, rolloutId, 'start')
    return { ...given, rolloutId }
  },
  'must-pass-through': async () => await givenCase({}, { min_previous: 5 }),
  penalty: async () => {
    const given = await cases['open-deployment']()
    const open = await world.db
      .selectFrom('deployment')
      .select('id')
      .where('device_id', '=', given.device)
      .executeTakeFirstOrThrow()
    await report(world, given.device, open.id, 'failed_final', { code: 'no-space' })
    return given
  },
  'not-in-phase': async () => {
    const given = await givenCase()
    await setPhase(given.rolloutId, { percent: null, kind: 'cohort' })
    return given
  },
  'out-of-window': async () => {
    const given = await givenCase()
    const rule = { cron: '0 1 * * *', duration: 'PT2H', zone: 'Europe/Berlin', blackout: [] }
    await setRollout(given.rolloutId, { install_window: JSON.stringify(rule) })
    return given
  },
  'other-rollout': async () => {
    const given = await givenCase()
    const newer = await givenRelease(world, { model: given.model, build: newBuild() })
    const first = await givenRollout(world, given.groupId, newer.id)
    await setRollout(first, { priority: 900 })
    await act(world, first, 'start')
    return given
  },
  rate: async () => {
    const given = await givenCase()
    await setPhase(given.rolloutId, { rate: JSON.stringify({ perMinute: 1 }) })
    const others = await givenDevices(world, given.groupId, 1, { model: given.model })
    await meetDevices(world.ctx, others)
    return given
  },
  'no-slot': async () => {
    const given = await givenCase()
    await setRollout(given.rolloutId, { max_in_flight: 1 })
    const others = await givenDevices(world, given.groupId, 1, { model: given.model })
    await meetDevices(world.ctx, others)
    return given
  },
}

const explain = async (rolloutId: string, deviceId: string) =>
  await explainRollout(world.ctx, { rolloutId, deviceId, reach: 'fleet' })

describe('every reason', () => {
  test.each(reasonCodes)('%s is told, and is what happens', async (code) => {
    const { rolloutId, device } = await cases[code]()
    const told = await explain(rolloutId, device)
    expect(ExplanationView.parse(told)).toEqual(told)
    expect(told.code).toBe(code)
    expect(told.words).not.toMatch(/undefined|null|NaN|\[object/)
    expect(told.change.length).toBeGreaterThan(10)
    await meetDevices(world.ctx, [device])
    const rows = await world.db
      .selectFrom('deployment')
      .select('id')
      .where('rollout_id', '=', rolloutId)
      .where('device_id', '=', device)
      .execute()
    expect(rows).toEqual([])
  })
})

test('a certificate that lasts long enough holds nothing up', async () => {
  const given = await givenCase()
  await certificateUntil(given.device, 48)
  expect((await explain(given.rolloutId, given.device)).code).toBe('admitted')
})

test('with nothing against it: admitted, and then it is, with each state of its deployment', async () => {
  const { rolloutId, device } = await givenCase()
  const codeNow = async () => (await explain(rolloutId, device)).code
  expect(await codeNow()).toBe('admitted')
  expect(await meetDevices(world.ctx, [device])).toEqual([device])
  expect(await codeNow()).toBe('queued')
  const id = await deploymentIdOf(world, rolloutId, device)
  await report(world, device, id, 'offered')
  expect(await codeNow()).toBe('consent-needed')
  await report(world, device, id, 'opted_out')
  expect(await codeNow()).toBe('opted-out')
  await report(world, device, id, 'accepted')
  await report(world, device, id, 'downloading')
  expect(await codeNow()).toBe('under-way')
  await report(world, device, id, 'failed_final', { code: 'no-space' })
  expect(await explain(rolloutId, device)).toMatchObject({
    code: 'ended',
    words: 'It has ended: failed_final (no-space).',
  })
})

test('until when is told, where it is known', async () => {
  const penalised = await cases.penalty()
  const { until } = await explain(penalised.rolloutId, penalised.device)
  expect(until).toBe(new Date(world.clock.now().getTime() + 86_400_000).toISOString())
  const paced = await cases.rate()
  expect((await explain(paced.rolloutId, paced.device)).until).not.toBeNull()
})

test('the way over steps is shown', async () => {
  const given = await givenCase({}, { min_previous: 40, build: 50 })
  await givenRelease(world, { model: given.model, build: 40 })
  const told = await explain(given.rolloutId, given.device)
  expect(told).toMatchObject({ code: 'admitted', path: [{ build: 40 }, { build: 50 }] })
})

test('of one device: every rollout that concerns it, in pages; what is not there is not found', async () => {
  const { groupId, device, model, rolloutId } = await givenCase()
  const newer = await givenRelease(world, { model, build: newBuild() })
  const draft = await givenRollout(world, groupId, newer.id)
  const told = await explainDevice(world.ctx, { deviceId: device, reach: 'fleet', limit: 10 })
  expect(new Map(told.map((one) => [one.rolloutId, one.code]))).toEqual(
    new Map([
      [rolloutId, 'admitted'],
      [draft, 'not-running'],
    ]),
  )
  const [first] = await explainDevice(world.ctx, { deviceId: device, reach: 'fleet', limit: 1 })
  const second = await explainDevice(world.ctx, {
    deviceId: device,
    reach: 'fleet',
    limit: 5,
    before: first?.rolloutId,
  })
  expect(second).toHaveLength(1)
  await expect(explain(randomUUID(), device)).rejects.toThrow('No such rollout')
  await expect(explain(rolloutId, randomUUID())).rejects.toThrow('No such device')
})
