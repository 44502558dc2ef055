import { beforeAll, describe, expect, test } from 'vitest'

import { parseCertificate } from '../../pki/x509/parse.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { registerDevice } from '../../server/devices/service.ts'
import { abandonStale } from '../../server/enrollment/workers.ts'
import { newId } from '../../server/ids.ts'
import { actOnDevice, actOnGroup } from '../../server/incidents/service.ts'
import {
  by,
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

const usesOf = async (profileId: string) => {
  const profile = await ctx.db
    .selectFrom('enrollment_profile')
    .select('used')
    .where('id', '=', profileId)
    .executeTakeFirstOrThrow()
  const tokens = await ctx.db
    .selectFrom('enrollment_token')
    .select('uses')
    .where('profile_id', '=', profileId)
    .execute()
  return { used: profile.used, uses: tokens.map((token) => token.uses) }
}

const findDevice = async (serialNumber: string) =>
  await ctx.db
    .selectFrom('device')
    .selectAll()
    .where('serial_number', '=', serialNumber)
    .executeTakeFirst()

describe.each(kinds)('enrollment on %s', (kind) => {
  beforeAll(() => use(kind))

  test('a device that is met gets a record, a group and a certificate with our names', async () => {
    const profile = await world.givenProfile({ idPattern: '^SN-[\\d-]+$' })
    const token = await world.givenToken(profile.id)
    const serial = unique('SN')
    const { csr } = newRequest(serial)
    const certificate = parseCertificate(await world.enrollWith(token, csr))
    const device = await findDevice(serial)
    expect(device).toMatchObject({
      state: 'active',
      name: serial,
      enrollment_profile_id: profile.id,
    })
    expect(certificate.subjectAltName).toEqual([{ type: 'uri', value: `urn:uuid:${device?.id}` }])
    expect(await usesOf(profile.id)).toEqual({ used: 1, uses: [1] })
    const members = await ctx.db
      .selectFrom('device_group_member')
      .selectAll()
      .where('group_id', '=', profile.groupId)
      .execute()
    expect(members).toEqual([{ group_id: profile.groupId, device_id: device?.id }])
  })

  test('the same request again gets the same certificate and costs nothing, also at once and after the token ended', async () => {
    const profile = await world.givenProfile({ quota: 1 })
    const token = await world.givenToken(profile.id, { maxUses: 1 })
    const { csr } = newRequest(unique('SN'))
    const all = await Promise.all([1, 2, 3, 4].map(() => world.enrollWith(token, csr)))
    await inTransaction(ctx.db, (tx) =>
      tx
        .updateTable('enrollment_token')
        .set({ expires_at: new Date(0) })
        .where('profile_id', '=', profile.id)
        .execute(),
    )
    all.push(await world.enrollWith(token, csr))
    expect(new Set(all.map((der) => der.toString('hex'))).size).toBe(1)
    expect(await usesOf(profile.id)).toEqual({ used: 1, uses: [1] })
  })

  test('a quota is never overshot by requests at the same time, and is used up to the last', async () => {
    const profile = await world.givenProfile({ quota: 3 })
    const tokens = [
      await world.givenToken(profile.id),
      await world.givenToken(profile.id, { maxUses: 2 }),
    ]
    const results = await Promise.allSettled(
      Array.from({ length: 8 }, (_, n) =>
        world.enrollWith(tokens[n % 2] ?? '', newRequest(unique('SN')).csr),
      ),
    )
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(3)
    for (const result of results) {
      if (result.status === 'rejected')
        expect(result.reason).toMatchObject({ code: 'quota-exhausted' })
    }
    const { used, uses } = await usesOf(profile.id)
    expect(used).toBe(3)
    expect(uses[0] ?? 0).toBe(3 - (uses[1] ?? 0))
  })
})

describe.each(kinds)('enrollment: refusals on %s', (kind) => {
  beforeAll(() => use(kind))

  test('A20 two requests of one device at once: one certificate', async () => {
    const profile = await world.givenProfile()
    const token = await world.givenToken(profile.id)
    const serial = unique('SN')
    const results = await Promise.allSettled(
      [1, 2, 3].map(() => world.enrollWith(token, newRequest(serial).csr)),
    )
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    const device = await findDevice(serial)
    const issued = await ctx.db
      .selectFrom('certificate')
      .select('state')
      .where('device_id', '=', device?.id ?? '')
      .execute()
    expect(issued.filter(({ state }) => state === 'issued')).toHaveLength(1)
    expect(await usesOf(profile.id)).toEqual({ used: 1, uses: [1] })
  })

  test.each([
    ['a token that expired', { token: { expiresAt: new Date(0) } }, 'not-allowed'],
    [
      'a profile that is not open yet',
      { profile: { validFrom: new Date('2100-01-01') } },
      'not-allowed',
    ],
    ['a profile that closed', { profile: { validUntil: new Date('2020-01-01') } }, 'not-allowed'],
    ['a quota of none', { profile: { quota: 0 } }, 'quota-exhausted'],
    ['an identity outside the pattern', { profile: { idPattern: '^\\d+$' } }, 'not-allowed'],
    [
      'an identity that only begins like the pattern',
      { profile: { idPattern: '^SN$' } },
      'not-allowed',
    ],
    ['a key outside the policy', { profile: { keyPolicy: ['Ed25519' as const] } }, 'not-allowed'],
    [
      'a device that is not registered',
      { profile: { registration: 'pre-registered' as const } },
      'not-allowed',
    ],
  ])(
    '%s is refused and costs nothing',
    async (
      _what,
      { profile: overrides = {}, token: limits = {} }: { profile?: object; token?: object },
      code,
    ) => {
      const profile = await world.givenProfile(overrides)
      const token = await world.givenToken(profile.id, limits)
      const serial = unique('SN')
      await expect(world.enrollWith(token, newRequest(serial).csr)).rejects.toMatchObject({ code })
      expect(await usesOf(profile.id)).toEqual({ used: 0, uses: [0] })
      expect(await findDevice(serial)).toBeUndefined()
    },
  )
})

describe.each(kinds)('enrollment: registered devices on %s', (kind) => {
  beforeAll(() => use(kind))

  test('a registered device enrolls where it must be registered, once', async () => {
    const profile = await world.givenProfile({ registration: 'pre-registered' })
    const token = await world.givenToken(profile.id)
    const serialNumber = unique('SN_with_underscores')
    const id = newId(ctx.clock.now())
    await registerDevice(ctx, {
      id,
      serialNumber,
      name: 'Pump in hall 7',
      ...by,
    })
    const { csr } = newRequest(serialNumber, { uris: [`urn:uuid:${id}`] })
    const certificate = parseCertificate(await world.enrollWith(token, csr))
    expect(certificate.subjectAltName).toEqual([{ type: 'uri', value: `urn:uuid:${id}` }])
    // Another request, by whoever has the token: refused, and the certificate stays.
    await expect(world.enrollWith(token, newRequest(serialNumber).csr)).rejects.toMatchObject({
      code: 'not-allowed',
    })
    expect(await usesOf(profile.id)).toEqual({ used: 1, uses: [1] })
  })
})

describe.each(kinds)('enrollment: names, crashes on %s', (kind) => {
  beforeAll(() => use(kind))

  test('C11, A19 names of another device are refused', async () => {
    const other = await world.givenDevice()
    const profile = await world.givenProfile()
    const token = await world.givenToken(profile.id)
    for (const csr of [
      newRequest(other.serialNumber).csr,
      newRequest(unique('SN'), { uris: [`urn:uuid:${other.deviceId}`] }).csr,
      newRequest(unique('SN'), { uris: ['https://example.com/'] }).csr,
    ]) {
      await expect(world.enrollWith(token, csr)).rejects.toMatchObject({ code: 'not-allowed' })
    }
    expect(await usesOf(profile.id)).toEqual({ used: 0, uses: [0] })
  })

  test('I1 a process that died between intent and signature: the same request resumes with the same serial', async () => {
    const profile = await world.givenProfile({ quota: 1 })
    const token = await world.givenToken(profile.id)
    const serial = unique('SN')
    const { csr } = newRequest(serial)
    const broken = brokenSigner()
    await expect(world.enrollWith(token, csr, broken)).rejects.toMatchObject({ code: 'busy' })
    const device = await findDevice(serial)
    expect(device?.state).toBe('registered')
    const intent = await ctx.db
      .selectFrom('certificate')
      .selectAll()
      .where('device_id', '=', device?.id ?? '')
      .executeTakeFirstOrThrow()
    expect(intent.state).toBe('pending')
    // A different request right now would mean two certificates.
    await expect(world.enrollWith(token, newRequest(serial).csr)).rejects.toThrow()
    const certificate = parseCertificate(await world.enrollWith(token, csr))
    expect(certificate.serial).toEqual(intent.serial)
    expect(certificate.tbs).toEqual(intent.tbs)
    expect(await usesOf(profile.id)).toEqual({ used: 1, uses: [1] })
  })
})

describe.each(kinds)('enrollment: what is left behind on %s', (kind) => {
  beforeAll(() => use(kind))

  test('an intent nobody came back for is given up, and gives back what it took', async () => {
    const profile = await world.givenProfile({ quota: 1 })
    const token = await world.givenToken(profile.id)
    const serial = unique('SN')
    await expect(
      world.enrollWith(token, newRequest(serial).csr, brokenSigner()),
    ).rejects.toMatchObject({ code: 'busy' })
    expect(await abandonStale(ctx)).toBe(false)
    expect(await usesOf(profile.id)).toEqual({ used: 1, uses: [1] })
    ctx.clock.advance({ seconds: 601 })
    await abandonStale(ctx)
    expect(await usesOf(profile.id)).toEqual({ used: 0, uses: [0] })
    const device = await findDevice(serial)
    const rows = () =>
      ctx.db
        .selectFrom('certificate')
        .select(['state', 'serial'])
        .where('device_id', '=', device?.id ?? '')
        .orderBy('created_at')
        .execute()
    expect(await rows()).toMatchObject([{ state: 'abandoned' }])
    await world.enrollWith(token, newRequest(serial).csr)
    const [first, second] = await rows()
    expect(second?.state).toBe('issued')
    expect(second?.serial).not.toEqual(first?.serial)
  })

  test('a device or group that is cut off gets no certificate, not even the one it had', async () => {
    const profile = await world.givenProfile()
    const token = await world.givenToken(profile.id)
    const serial = unique('SN')
    const { csr } = newRequest(serial)
    await world.enrollWith(token, csr)
    const deviceId = (await findDevice(serial))?.id ?? ''
    const who = { reason: 'test', by: { id: 'key:test' } }
    await actOnDevice(ctx, { deviceId, action: 'disable', ...who })
    await expect(world.enrollWith(token, csr)).rejects.toMatchObject({ code: 'not-allowed' })
    await actOnDevice(ctx, { deviceId, action: 'enable', ...who })
    await world.enrollWith(token, csr)
    await actOnGroup(ctx, { groupId: profile.groupId, action: 'disable', ...who })
    await expect(world.enrollWith(token, csr)).rejects.toMatchObject({ code: 'not-allowed' })
    await expect(world.enrollWith(token, newRequest(unique('SN')).csr)).rejects.toMatchObject({
      code: 'not-allowed',
    })
    await actOnGroup(ctx, { groupId: profile.groupId, action: 'enable', ...who })
    await world.enrollWith(token, newRequest(unique('SN')).csr)
  })
})

function brokenSigner() {
  const { devices } = ctx.authorities
  const signer = { ...devices.signer, sign: () => Promise.reject(new Error('token removed')) }
  const { tls: _tls, ...rest } = ctx.authorities
  const authorities = { ...rest, tls: ctx.authorities.tls, devices: { ...devices, signer } }
  return { ...ctx, authorities }
}
