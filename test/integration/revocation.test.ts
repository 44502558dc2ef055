import { afterEach, beforeAll, describe, expect, test } from 'vitest'

import { applyDelta } from '../../pki/crl/delta.ts'
import { type Crl, crlEntries, findRevoked, parseCrl, verifyCrl } from '../../pki/crl/parse.ts'
import { shardOf } from '../../pki/crl/shard.ts'
import { statusByCrls } from '../../pki/crl/status.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { latestCrl, publishCrl, publishDueCrls } from '../../server/certificates/crl.ts'
import { changeRevocation, type RevocationAction } from '../../server/certificates/revocation.ts'
import { crlShards } from '../../server/certificates/shards.ts'
import {
  type Enrolled,
  type IdentityWorld,
  newRequest,
  type WorldContext,
} from '../support/identity-world.ts'
import { createWorlds, kinds } from '../support/two-worlds.ts'

const by = { id: 'key:test' }
const daySeconds = 86_400

let world: IdentityWorld
let ctx: WorldContext
const worldOn = createWorlds()

let movedSeconds = 0
function advance(seconds: number): void {
  movedSeconds += seconds
  ctx.clock.advance({ seconds })
}
afterEach(() => {
  ctx.clock.advance({ seconds: -movedSeconds })
  movedSeconds = 0
})

const use = (kind: string) => () => {
  ;({ world } = worldOn(kind))
  ctx = world.ctx
}

const change = async ({ certificateId }: Enrolled, action: RevocationAction, at = ctx) =>
  await changeRevocation(at, { ...action, certificateId, by })
const hold = { action: 'hold' } as const
const release = { action: 'release' } as const
const revoke = { action: 'revoke', reason: 'keyCompromise' } as const

const verdictOf = async ({ fingerprint }: Enrolled, at = ctx) => {
  const verdict = await at.identities.check(fingerprint)
  return verdict.allowed ? 'allowed' : verdict.refusal
}

async function crlOf(part: { shard?: number; isDelta?: boolean } = {}): Promise<Crl> {
  const { shard = -1, isDelta = false } = part
  const row = await latestCrl(ctx.db, ctx.authorities.devices.id, { shard, isDelta })
  const crl = parseCrl(row?.der ?? Buffer.alloc(0))
  expect(verifyCrl(crl, ctx.authorities.devices.certificate)).toBe(true)
  return crl
}

const serialOf = ({ der }: Enrolled) => parseCertificate(der).serial
const shardWith = (device: Enrolled) => shardOf(serialOf(device), crlShards)
const reasonOn = (crl: Crl, device: Enrolled) => findRevoked(crl, serialOf(device))?.reason
const serialsOn = (crl: Crl) =>
  [...crlEntries(crl)].map(({ serial, reason }) => `${serial.toString('hex')} ${reason}`).toSorted()

async function actionsOn({ certificateId }: Enrolled): Promise<string[]> {
  const rows = await ctx.db
    .selectFrom('audit_event')
    .select('action')
    .where('subject', '=', certificateId)
    .orderBy('seq')
    .execute()
  return rows.map(({ action }) => action)
}

describe.each(kinds)('hold and release on %s', (kind) => {
  beforeAll(use(kind))

  test('a certificate on hold is refused everywhere at once, and its release brings it back', async () => {
    const other = await world.another(ctx.bus)
    const device = await world.givenDevice()
    const bystander = await world.givenDevice()
    for (const at of [ctx, other]) expect(await verdictOf(device, at)).toBe('allowed')
    expect(await change(device, hold)).toMatchObject({ state: 'held', held_state: 'issued' })
    await other.identities.sweep()
    for (const at of [ctx, other]) {
      expect(at.identities.peek(device.fingerprint)).toMatchObject({ refusal: 'certificate-held' })
      expect(await verdictOf(bystander, at)).toBe('allowed')
    }
    expect(reasonOn(await crlOf(), device)).toBe(6)
    // Again: nothing changes, not even the date.
    const { revoked_at: heldAt } = await change(device, hold)
    advance(60)
    expect(await change(device, hold)).toMatchObject({ revoked_at: heldAt })
    expect(await change(device, release)).toMatchObject({ state: 'issued', revoked_at: null })
    await other.identities.sweep()
    for (const at of [ctx, other]) expect(await verdictOf(device, at)).toBe('allowed')
    expect(reasonOn(await crlOf(), device)).toBeUndefined()
    expect(await actionsOn(device)).toEqual([
      'certificate.issue',
      'certificate.hold',
      'certificate.release',
    ])
  })

  test('a hold may become final and keeps its date; a final revocation is never released', async () => {
    const device = await world.givenDevice()
    const { revoked_at: heldAt } = await change(device, hold)
    advance(60)
    const command = { action: 'revoke', reason: 'superseded' } as const
    const revoked = { state: 'revoked', revoked_at: heldAt, revocation_reason: 'superseded' }
    expect(await change(device, command)).toMatchObject({ ...revoked, held_state: null })
    for (const action of [hold, release]) {
      await expect(change(device, action)).rejects.toMatchObject({ code: 'illegal-transition' })
    }
    // A key that turns out to be stolen is the one thing that may be said later.
    expect(await change(device, revoke)).toMatchObject({
      ...revoked,
      revocation_reason: 'keyCompromise',
    })
    expect(await change(device, command)).toMatchObject({ revocation_reason: 'keyCompromise' })
    expect(reasonOn(await crlOf(), device)).toBe(1)
    expect(await verdictOf(device)).toBe('certificate-revoked')
  })
})

describe.each(kinds)('around a hold on %s', (kind) => {
  beforeAll(use(kind))

  test('a device on hold does not get around it by enrolling again', async () => {
    const profile = await world.givenProfile({ replaceable: 'on' })
    const device = await world.givenDevice({ profile })
    const token = await world.givenToken(profile.id)
    const { csr } = newRequest(device.serialNumber)
    await change(device, hold)
    await expect(world.enrollWith(token, csr)).rejects.toMatchObject({ code: 'not-allowed' })
    await change(device, release)
    expect(parseCertificate(await world.enrollWith(token, csr)).serial).not.toEqual(
      serialOf(device),
    )
  })

  test('two operators at once: one outcome, and the CRL agrees with it', async () => {
    const device = await world.givenDevice()
    await change(device, hold)
    const outcomes = await Promise.allSettled([change(device, release), change(device, revoke)])
    expect(outcomes[1]?.status).toBe('fulfilled')
    const verdict = await verdictOf(device)
    // Released and then revoked, or revoked and not released: revoked either way.
    expect(verdict).toBe('certificate-revoked')
    expect(reasonOn(await crlOf(), device)).toBe(1)
  })
})

describe.each(kinds)('shards on %s', (kind) => {
  beforeAll(use(kind))

  test('P9, V5 the certificate names its shard, the shard is stored, and shards make up the whole', async () => {
    const devices = []
    for (let n = 0; n < 5; n++) devices.push(await world.givenDevice())
    for (const device of devices.slice(1)) await change(device, revoke)
    const all: string[] = []
    for (let shard = 0; shard < crlShards; shard++) all.push(...serialsOn(await crlOf({ shard })))
    const whole = await crlOf()
    expect(all.toSorted()).toEqual(serialsOn(whole))
    expect(whole.issuingDistributionPoint).toBeUndefined()

    for (const device of devices) {
      const certificate = parseCertificate(device.der)
      const shard = await crlOf({ shard: shardWith(device) })
      const [point] = certificate.crlDistributionPoints ?? []
      expect(shard.issuingDistributionPoint?.name).toEqual(point?.name)
      expect(shard.issuingDistributionPoint?.onlyUserCertificates).toBe(true)
      const row = await ctx.db
        .selectFrom('certificate')
        .select('crl_shard')
        .where('id', '=', device.certificateId)
        .executeTakeFirst()
      expect(row?.crl_shard).toBe(shardWith(device))
      const issuer = ctx.authorities.devices.certificate
      const said = statusByCrls(certificate, issuer, [shard], { at: shard.thisUpdate })
      expect(said.status).toBe(device === devices[0] ? 'good' : 'revoked')
    }
  })

  test('V1 only the shard that changed is made again, and all of one publication have one number', async () => {
    const device = await world.givenDevice()
    await publishCrl(ctx, ctx.authorities.devices.id)
    const shard = shardWith(device)
    const beside = (shard + 1) % crlShards
    const before = { whole: await crlOf(), own: await crlOf({ shard }) }
    const other = await crlOf({ shard: beside })
    await change(device, revoke)
    const after = { whole: await crlOf(), own: await crlOf({ shard }) }
    expect(after.whole.number).toBeGreaterThan(before.whole.number)
    expect(after.own.number).toBe(after.whole.number)
    expect((await crlOf({ shard: beside })).number).toBe(other.number)
    for (const part of [{}, { shard }]) {
      expect((await crlOf({ ...part, isDelta: true })).number).toBe(after.whole.number)
    }
  })

  test('root and servers have one list each, which certificates of the server name', async () => {
    const { servers, root } = ctx.authorities
    await publishDueCrls(ctx)
    for (const { id } of [servers, root]) {
      expect(await latestCrl(ctx.db, id)).toBeDefined()
      expect(await latestCrl(ctx.db, id, { shard: 0, isDelta: false })).toBeUndefined()
    }
  })
})

describe.each(kinds)('deltas on %s', (kind) => {
  beforeAll(use(kind))

  test('V3, V4 a delta on its base says what the full list says; a released hold is removed', async () => {
    const kept = await world.givenDevice()
    const released = await world.givenDevice()
    await publishDueCrls(ctx)
    advance(2 * daySeconds)
    await change(released, hold)
    const base = await crlOf()
    expect(reasonOn(base, released)).toBe(6)
    expect(base.freshestUrls).toEqual([
      ctx.authorities.urls.crl(ctx.authorities.devices.id, { isDelta: true }),
    ])
    const shardBase = await crlOf({ shard: shardWith(released) })

    await change(kept, revoke)
    await change(released, release)
    const delta = await crlOf({ isDelta: true })
    // The list that stood when the day began, published under this number.
    expect(delta.baseNumber).toBe(base.number)
    expect(reasonOn(delta, kept)).toBe(1)
    expect(reasonOn(delta, released)).toBe(8)
    const full = await crlOf()
    const merged = [...applyDelta(base, delta).values()]
    expect(
      merged.map(({ serial, reason }) => `${serial.toString('hex')} ${reason}`).toSorted(),
    ).toEqual(serialsOn(full))
    const shardDelta = await crlOf({ shard: shardWith(released), isDelta: true })
    expect(shardDelta.baseNumber).toBe(shardBase.number)
    expect(shardDelta.issuingDistributionPoint?.der).toEqual(
      shardBase.issuingDistributionPoint?.der,
    )
    const issuer = ctx.authorities.devices.certificate
    const at = new Date(ctx.clock.now())
    const status = (device: Enrolled, lists: Crl[]) =>
      statusByCrls(parseCertificate(device.der), issuer, lists, { at }).status
    expect(status(released, [shardBase])).toBe('revoked')
    expect(status(released, [shardBase, shardDelta])).toBe('good')
    expect(status(kept, [base, delta])).toBe('revoked')
    expect(status(kept, [base])).toBe('good')
  })

  test('V4 a hold made and released between two deltas is removed for who has a list in between', async () => {
    const device = await world.givenDevice()
    await publishDueCrls(ctx)
    await change(device, hold)
    const between = await crlOf()
    expect(reasonOn(between, device)).toBe(6)
    await change(device, release)
    const delta = await crlOf({ isDelta: true })
    expect(delta.baseNumber).toBeLessThan(between.number)
    const now = applyDelta(between, delta)
    expect(now.has(serialOf(device).toString('hex'))).toBe(false)
  })

  test('V6, V12 lists outlive six days without a publisher, and never go back in time', async () => {
    advance(daySeconds)
    await publishDueCrls(ctx)
    const lists = [await crlOf(), await crlOf({ shard: 3 }), await crlOf({ isDelta: true })]
    for (const { nextUpdate } of lists) {
      expect(nextUpdate.getTime()).toBeGreaterThan(ctx.clock.now().getTime() + 6 * 86_400_000)
    }
    // A process whose clock is an hour behind publishes next.
    const device = await world.givenDevice()
    const slow = { now: () => new Date(ctx.clock.now().getTime() - 3_600_000) }
    await change(device, revoke, { ...ctx, clock: slow } as unknown as WorldContext)
    const after = await crlOf()
    expect(reasonOn(after, device)).toBe(1)
    expect(after.thisUpdate.getTime()).toBeGreaterThanOrEqual(lists[0]?.thisUpdate.getTime() ?? 0)
  })
})
