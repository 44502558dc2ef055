import { beforeAll, describe, expect, test } from 'vitest'

import { actOnDevice } from '../../server/incidents/service.ts'
import {
  type IdentityWorld,
  newRequest,
  unique,
  type WorldContext,
} from '../support/identity-world.ts'
import { createWorlds, kinds } from '../support/two-worlds.ts'

let world: IdentityWorld
let ctx: WorldContext
const worldOn = createWorlds()

function use(kind: string): void {
  ;({ world } = worldOn(kind))
  ctx = world.ctx
}

const statesOf = async (serialNumber: string) =>
  await ctx.db
    .selectFrom('certificate')
    .innerJoin('device', 'device.id', 'certificate.device_id')
    .select(['certificate.state', 'certificate.replaces_id', 'device.id as device_id'])
    .where('device.serial_number', '=', serialNumber)
    .orderBy('certificate.created_at')
    .execute()

async function given(replaceable: 'off' | 'same-key' | 'on') {
  const profile = await world.givenProfile({ replaceable })
  const token = await world.givenToken(profile.id)
  const serial = unique('SN')
  const { key, csr } = newRequest(serial)
  await world.enrollWith(token, csr)
  return { profile, token, serial, key }
}

describe.each(kinds)('a device that enrolls again on %s', (kind) => {
  beforeAll(() => use(kind))

  test('is refused where nothing is said, and keeps what it has', async () => {
    const { token, serial, key } = await given('off')
    for (const csr of [newRequest(serial).csr, newRequest(serial, { key }).csr]) {
      await expect(world.enrollWith(token, csr)).rejects.toMatchObject({ code: 'not-allowed' })
    }
    expect(await statesOf(serial)).toMatchObject([{ state: 'issued' }])
  })

  test('may do so with the key it has, and with no other', async () => {
    const { token, serial, key } = await given('same-key')
    await expect(world.enrollWith(token, newRequest(serial).csr)).rejects.toMatchObject({
      code: 'not-allowed',
    })
    await world.enrollWith(token, newRequest(serial, { key }).csr)
    expect(await statesOf(serial)).toMatchObject([{ state: 'issued' }, { state: 'issued' }])
  })

  test('may do so with any key; the old certificate is good until the new one is used, and an event says it', async () => {
    const { token, serial } = await given('on')
    for (let n = 0; n < 2; n++) {
      ctx.clock.advance({ seconds: 1 })
      await world.enrollWith(token, newRequest(serial).csr)
    }
    const [first, second, third] = await statesOf(serial)
    // What was never used is ended by the next; one successor is left.
    expect([first, second, third].map((one) => one?.state)).toEqual([
      'issued',
      'superseded',
      'issued',
    ])
    expect(third?.replaces_id).toBe(second?.replaces_id)
    expect(third?.replaces_id).not.toBeNull()
    const events = await ctx.db
      .selectFrom('security_event')
      .select('kind')
      .where('device_id', '=', first?.device_id ?? '')
      .where('kind', '=', 'device-enrolled-again')
      .execute()
    expect(events).toHaveLength(2)
  })
})

describe.each(kinds)('a device that may not enroll again on %s', (kind) => {
  beforeAll(() => use(kind))

  test('not when it was cut off, nor from another profile, nor without end', async () => {
    const { token, serial } = await given('on')
    const other = await given('on')
    const refused = { code: 'not-allowed' }
    await expect(world.enrollWith(other.token, newRequest(serial).csr)).rejects.toMatchObject(
      refused,
    )
    const [{ device_id: deviceId } = { device_id: '' }] = await statesOf(serial)
    const act = { deviceId, reason: 'test', by: { id: 'key:test' } }
    await actOnDevice(ctx, { ...act, action: 'disable' })
    await expect(world.enrollWith(token, newRequest(serial).csr)).rejects.toMatchObject(refused)
    await actOnDevice(ctx, { ...act, action: 'enable' })
    const last = async () => await world.enrollWith(token, newRequest(serial).csr)
    for (let n = 0; n < 19; n++) await last()
    await expect(last()).rejects.toMatchObject({ code: 'rate-limited' })
  })
})
