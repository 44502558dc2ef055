import { beforeAll, describe, expect, test } from 'vitest'

import { parseCsr } from '../../pki/csr/parse.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { registerDevice } from '../../server/devices/service.ts'
import { enroll } from '../../server/enrollment/enroll.ts'
import { newId } from '../../server/ids.ts'
import { actOnDevice, actOnGroup } from '../../server/incidents/service.ts'
import { tracesOf } from '../support/enrollment-traces.ts'
import {
  by,
  type IdentityWorld,
  newRequest,
  unique,
  type WorldContext,
} from '../support/identity-world.ts'
import { StatementCounter } from '../support/rollout-world.ts'
import { createWorlds, kinds } from '../support/two-worlds.ts'

/* Devices that enroll at the same moment share two transactions. Each must get, and leave behind, what it would alone. */

let world: IdentityWorld
let ctx: WorldContext
const worldOn = createWorlds()

function use(kind: string): void {
  ;({ world } = worldOn(kind))
  ctx = world.ctx
}

interface Line {
  profileId: string
  groupId: string
  /** All at once, in one group as far as they can be. */
  together: (csrs: readonly Buffer[], by?: WorldContext) => Promise<PromiseSettledResult<Buffer>[]>
}

async function givenLine(
  profile: Parameters<IdentityWorld['givenProfile']>[0] = {},
  limits: Parameters<IdentityWorld['givenToken']>[1] = {},
): Promise<Line> {
  const { id: profileId, groupId } = await world.givenProfile(profile)
  await world.givenToken(profileId, limits)
  const { db } = ctx
  const together: Line['together'] = async (csrs, by = ctx) => {
    const token = await db
      .selectFrom('enrollment_token')
      .selectAll()
      .where('profile_id', '=', profileId)
      .executeTakeFirstOrThrow()
    const row = await db
      .selectFrom('enrollment_profile')
      .selectAll()
      .where('id', '=', profileId)
      .executeTakeFirstOrThrow()
    return await Promise.allSettled(
      csrs.map((csr) => enroll(by, { token, profile: row, csr: parseCsr(csr) })),
    )
  }
  return { profileId, groupId, together }
}

const requests = (count: number) =>
  Array.from({ length: count }, () => newRequest(unique('GROUP')).csr)

const outcome = (result: PromiseSettledResult<Buffer>): string =>
  result.status === 'fulfilled' ? 'issued' : String(result.reason.code ?? result.reason)

async function usesOf({ profileId }: Line) {
  const { used } = await ctx.db
    .selectFrom('enrollment_profile')
    .select('used')
    .where('id', '=', profileId)
    .executeTakeFirstOrThrow()
  const { uses } = await ctx.db
    .selectFrom('enrollment_token')
    .select('uses')
    .where('profile_id', '=', profileId)
    .executeTakeFirstOrThrow()
  return { used, uses }
}

const valueOf = (result: PromiseSettledResult<Buffer> | undefined): Buffer => {
  if (result?.status !== 'fulfilled') throw new Error('not issued', { cause: result?.reason })
  return result.value
}

describe.each(kinds)('devices that enroll together on %s', (kind) => {
  beforeAll(() => use(kind))

  test('leave behind what each would leave alone', async () => {
    const line = await givenLine()
    const [alone] = await line.together(requests(1))
    const expected = await tracesOf(ctx.db, valueOf(alone))
    const group = await line.together(requests(5))
    for (const result of group) expect(await tracesOf(ctx.db, valueOf(result))).toEqual(expected)
    expect(await usesOf(line)).toEqual({ used: 6, uses: 6 })
  })

  test('take as many statements as two do', async () => {
    const line = await givenLine()
    const counter = new StatementCounter()
    const counted = { ...ctx, db: ctx.db.withPlugin(counter) }
    const during = async (count: number) =>
      await counter.during(async () => {
        const results = await line.together(requests(count), counted)
        expect(results.map(outcome)).toEqual(Array(count).fill('issued'))
      })
    const few = await during(2)
    expect(await during(40)).toBe(few)
    expect(few).toBeLessThanOrEqual(18)
    // One alone takes as many: a group is where it pays.
    expect(await during(1)).toBeGreaterThan(few / 2)
  })

  test('and were registered before, keep their record', async () => {
    const line = await givenLine({ registration: 'pre-registered' })
    const serials = [1, 2, 3].map(() => unique('KNOWN'))
    const ids = serials.map(() => newId(ctx.clock.now()))
    for (const [at, serialNumber] of serials.entries()) {
      const id = ids[at] ?? ''
      await registerDevice(ctx, {
        id,
        serialNumber,
        name: `unit ${serialNumber}`,
        ...by,
      })
    }
    const csrs = [...serials, unique('UNKNOWN')].map((serial) => newRequest(serial).csr)
    const results = await line.together(csrs)
    expect(results.map(outcome)).toEqual(['issued', 'issued', 'issued', 'not-allowed'])
    const names = results.slice(0, 3).map((one) => parseCertificate(valueOf(one)).subjectAltName)
    expect(names).toEqual(ids.map((id) => [{ type: 'uri', value: `urn:uuid:${id}` }]))
    const rows = await ctx.db
      .selectFrom('device')
      .select(['id', 'state', 'enrollment_profile_id'])
      .where('serial_number', 'in', serials)
      .orderBy('id')
      .execute()
    const active = { state: 'active', enrollment_profile_id: line.profileId }
    expect(rows).toEqual(ids.toSorted().map((id) => ({ id, ...active })))
    expect(await usesOf(line)).toEqual({ used: 3, uses: 3 })
  })
})

describe.each(kinds)('devices that enroll together, some of them wrongly, on %s', (kind) => {
  beforeAll(() => use(kind))

  test('do not fail with one another: each is refused for its own reason', async () => {
    const line = await givenLine({ idPattern: '^[A-Z]+-[\\d-]+$', keyPolicy: ['P-256'] })
    const taken = newRequest(unique('FIRST'))
    const [first] = await line.together([taken.csr])
    const twice = newRequest(unique('TWICE'))
    const shared = newRequest(unique('SHARED'))
    const csrs = [
      newRequest(unique('GOOD')).csr,
      newRequest('bad serial number?').csr,
      newRequest(unique('OTHER'), { algorithm: 'Ed25519' }).csr,
      newRequest(unique('THIEF'), { key: taken.key }).csr,
      newRequest(unique('NAMES'), { uris: ['urn:uuid:00000000-0000-4000-8000-000000000000'] }).csr,
      taken.csr,
      twice.csr,
      twice.csr,
      shared.csr,
      newRequest(unique('SHARED'), { key: shared.key }).csr,
      newRequest(unique('GOOD')).csr,
    ]
    const results = await line.together(csrs)
    expect(results.map(outcome)).toEqual([
      'issued',
      'invalid-request',
      'not-allowed',
      'not-allowed',
      'not-allowed',
      'issued',
      'issued',
      'issued',
      'issued',
      'not-allowed',
      'issued',
    ])
    expect(valueOf(results[5])).toEqual(valueOf(first))
    expect(valueOf(results[6])).toEqual(valueOf(results[7]))
    // FIRST, two GOOD, TWICE and the first SHARED.
    expect(await usesOf(line)).toEqual({ used: 5, uses: 5 })
  })

  test('A20 two requests of one device among them: one certificate', async () => {
    const line = await givenLine()
    const serial = unique('SN')
    const csrs = [newRequest(serial).csr, ...requests(3), newRequest(serial).csr]
    const outcomes = (await line.together(csrs)).map(outcome)
    expect(outcomes).toEqual(['issued', 'issued', 'issued', 'issued', 'not-allowed'])
  })
})

describe.each(kinds)('devices that enroll together, up to a limit on %s', (kind) => {
  beforeAll(() => use(kind))

  test('A21 in two processes take the last places of a token and a profile, and not one more', async () => {
    const other = await world.another()
    for (const line of [await givenLine({ quota: 5 }), await givenLine({}, { maxUses: 5 })]) {
      const both = await Promise.all([
        line.together(requests(4)),
        line.together(requests(4), other),
      ])
      const outcomes = both.flat().map(outcome).toSorted()
      const issued = Array(5).fill('issued')
      expect(outcomes).toEqual([...issued, ...Array(3).fill('quota-exhausted')])
      expect(await usesOf(line)).toEqual({ used: 5, uses: 5 })
    }
  })

  test('get nothing, and leave nothing, when their group is cut off', async () => {
    const line = await givenLine()
    const action = { groupId: line.groupId, reason: 'test', by: { id: by.actor } }
    await actOnGroup(ctx, { ...action, action: 'disable' })
    const refused = await line.together(requests(3))
    expect(refused.map(outcome)).toEqual(Array(3).fill('not-allowed'))
    const rows = await ctx.db
      .selectFrom('device')
      .select('id')
      .where('enrollment_profile_id', '=', line.profileId)
      .execute()
    expect(rows).toEqual([])
    await actOnGroup(ctx, { ...action, action: 'enable' })
    expect((await line.together(requests(3))).map(outcome)).toEqual(Array(3).fill('issued'))
  })
})

describe.each(kinds)(
  'devices that enroll together, between intent and certificate on %s',
  (kind) => {
    beforeAll(() => use(kind))

    /** The same process with a signer that does something else. */
    function signingWith(sign: (bytes: Buffer) => Promise<Buffer>): WorldContext {
      const { devices, tls, ...rest } = ctx.authorities
      const signer = { ...devices.signer, sign }
      return { ...ctx, authorities: { ...rest, tls, devices: { ...devices, signer } } }
    }

    test('I1 nothing was signed: the same requests resume with the same serials and cost nothing more', async () => {
      const line = await givenLine()
      const csrs = requests(4)
      const broken = signingWith(() => Promise.reject(new Error('token removed')))
      expect((await line.together(csrs, broken)).map(outcome)).toEqual(Array(4).fill('busy'))
      const pending = await ctx.db
        .selectFrom('certificate')
        .innerJoin('device', 'device.id', 'certificate.device_id')
        .select(['certificate.tbs', 'certificate.state', 'device.state as device_state'])
        .where('device.enrollment_profile_id', '=', line.profileId)
        .execute()
      expect(pending.map(({ state }) => state)).toEqual(Array(4).fill('pending'))
      expect(pending.map((row) => row.device_state)).toEqual(Array(4).fill('registered'))
      const again = (await line.together(csrs)).map((one) => parseCertificate(valueOf(one)).tbs)
      const hex = (all: readonly Buffer[]) => all.map((tbs) => tbs.toString('hex')).toSorted()
      expect(hex(again)).toEqual(hex(pending.map(({ tbs }) => tbs)))
      expect(await usesOf(line)).toEqual({ used: 4, uses: 4 })
    })

    test('one is revoked: it gets nothing, the others do', async () => {
      const line = await givenLine()
      const { signer } = ctx.authorities.devices
      const revokeOne = async () => {
        const { id: deviceId } = await ctx.db
          .selectFrom('device')
          .select('id')
          .where('enrollment_profile_id', '=', line.profileId)
          .executeTakeFirstOrThrow()
        const reason = 'stolen on the line'
        await actOnDevice(ctx, { deviceId, action: 'revoke', reason, by: { id: by.actor } })
        return deviceId
      }
      let revoked: Promise<string> | undefined
      const slow = signingWith(async (bytes) => {
        await (revoked ??= revokeOne())
        return await signer.sign(bytes)
      })
      const outcomes = (await line.together(requests(4), slow)).map(outcome)
      expect(outcomes.toSorted()).toEqual(['issued', 'issued', 'issued', 'not-allowed'])
      const row = await ctx.db
        .selectFrom('certificate')
        .select(['state', 'der'])
        .where('device_id', '=', (await revoked) ?? '')
        .executeTakeFirstOrThrow()
      expect(row).toEqual({ state: 'abandoned', der: null })
    })
  },
)
