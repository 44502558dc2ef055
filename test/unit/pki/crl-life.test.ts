import fc from 'fast-check'
import { beforeAll, expect, test } from 'vitest'

import type { RevokedCertificate } from '../../../pki/crl/build.ts'
import { applyDelta, deltaEntries } from '../../../pki/crl/delta.ts'
import type { Crl } from '../../../pki/crl/parse.ts'
import { crlEntries } from '../../../pki/crl/parse.ts'
import type { Revocation } from '../../../pki/crl/revocation.ts'
import { belongsOnCrl, crlReasons, release, revoke } from '../../../pki/crl/revocation.ts'
import { crlTimes, isCrlDue } from '../../../pki/crl/schedule.ts'
import { shardOf } from '../../../pki/crl/shard.ts'
import { newSerial } from '../../../pki/x509/issue.ts'
import { makeCrl } from '../../support/crl-fixture.ts'
import type { Authority } from '../../support/pki-fixture.ts'
import {
  crlUrl,
  daysFrom,
  expectRefusal,
  makeIssuer,
  makeRoot,
  now,
} from '../../support/pki-fixture.ts'

const { certificateHold, cessationOfOperation, keyCompromise, superseded } = crlReasons
const hourMs = 3_600_000
let issuer: Authority

beforeAll(async () => {
  issuer = await makeIssuer(await makeRoot())
})

const at = (reason: number, hours = 0): Revocation => ({
  reason,
  revokedAt: new Date(now.getTime() + hours * hourMs),
})

test('a hold is put, repeated, released and made final; its date stays', () => {
  const hold = revoke(undefined, at(certificateHold))
  expect(revoke(hold, at(certificateHold, 5))).toEqual(hold)
  expect(release(hold)).toBeUndefined()
  expect(release(undefined)).toBeUndefined()
  expect(revoke(hold, at(superseded, 5))).toEqual(at(superseded, 0))
})

test('V2 a final revocation is neither released nor softened', () => {
  const final = revoke(undefined, at(superseded))
  expectRefusal(() => release(final), 'crl')
  expectRefusal(() => revoke(final, at(certificateHold, 1)), 'crl')
  expectRefusal(() => revoke(final, at(cessationOfOperation, 1)), 'crl')
  expect(revoke(final, at(superseded, 1))).toEqual(final)
  expect(revoke(final, at(keyCompromise, 1))).toEqual(at(keyCompromise))
  expect(revoke(final, at(keyCompromise, -1))).toEqual(at(keyCompromise, -1))
  expectRefusal(() => release(at(keyCompromise)), 'crl')
})

test('V8 reasons that do not exist or do not revoke are refused', () => {
  for (const reason of [7, 8, 11, -1, 0.5, Number.NaN]) {
    expectRefusal(() => revoke(undefined, at(reason)), 'crl')
    expectRefusal(() => revoke(at(certificateHold), at(reason)), 'crl')
  }
  for (const reason of [0, 1, 2, 3, 4, 5, 6, 9, 10]) {
    expect(revoke(undefined, at(reason)).reason).toBe(reason)
  }
})

test('V6 the next update outlives the outage that is planned for', () => {
  const schedule = { everyMs: hourMs, outageMs: 48 * hourMs }
  const made = new Date(now.getTime() + 777)
  const { thisUpdate, nextUpdate } = crlTimes(made, schedule)
  expect(thisUpdate).toEqual(now)
  // The maker dies just before the next CRL and is back after the whole outage.
  const back = new Date(thisUpdate.getTime() + schedule.everyMs + schedule.outageMs)
  expect(nextUpdate.getTime()).toBeGreaterThanOrEqual(back.getTime())
  expect(isCrlDue(now, schedule, undefined)).toBe(true)
  expect(isCrlDue(new Date(now.getTime() + hourMs - 1), schedule, now)).toBe(false)
  expect(isCrlDue(new Date(now.getTime() + hourMs), schedule, now)).toBe(true)
  expectRefusal(() => crlTimes(now, { everyMs: hourMs, outageMs: hourMs - 1 }), 'crl')
  expectRefusal(() => crlTimes(now, { everyMs: Number.NaN, outageMs: hourMs }), 'crl')
})

test('V12 a slow clock does not set a CRL back', () => {
  const schedule = { everyMs: hourMs, outageMs: hourMs }
  const { thisUpdate } = crlTimes(new Date(now.getTime() - hourMs), schedule, now)
  expect(thisUpdate).toEqual(now)
})

test('V11 before the first CRL everything revoked is listed, expired or not', () => {
  const record = { revokedAt: daysFrom(now, -20), notAfter: daysFrom(now, -10) }
  expect(belongsOnCrl(record, undefined)).toBe(true)
  expect(belongsOnCrl(record, daysFrom(now, -11))).toBe(true)
  expect(belongsOnCrl(record, daysFrom(now, -10))).toBe(true)
  expect(belongsOnCrl(record, daysFrom(now, -9))).toBe(false)
})

test('shards: the last octet decides, counts are bounded', () => {
  expect(shardOf(Buffer.from('41ff', 'hex'), 256)).toBe(255)
  expect(shardOf(Buffer.from('41ff', 'hex'), 16)).toBe(15)
  expect(shardOf(Buffer.from('41ff', 'hex'), 1)).toBe(0)
  for (const count of [0, -1, 257, 1.5, Number.NaN]) {
    expectRefusal(() => shardOf(newSerial(), count), 'crl')
  }
  expectRefusal(() => shardOf(Buffer.alloc(0), 4), 'crl')
})

test('V5 the shards together are the full list, and no entry is in two', async () => {
  const revoked = Array.from({ length: 100 }, () => ({ serial: newSerial(), revokedAt: now }))
  const shards = await Promise.all(
    Array.from({ length: 8 }, async (_, index) => {
      const entries = revoked.filter(({ serial }) => shardOf(serial, 8) === index)
      return await makeCrl(issuer, entries, { shard: { url: `${crlUrl}/${index}` } })
    }),
  )
  const full = await makeCrl(issuer, revoked)
  const bySerial = (crls: Crl[]) =>
    crls
      .flatMap((crl) => [...crlEntries(crl)].map(({ serial }) => serial.toString('hex')))
      .toSorted()
  expect(bySerial(shards)).toEqual(bySerial([full]))
  expect(new Set(shards.map((crl) => crl.issuingDistributionPoint?.uris[0])).size).toBe(8)
})

interface Held extends Revocation {
  serial: Buffer
  notAfter: Date
}

const commands = fc.array(
  fc.record({
    kind: fc.constantFrom('revoke', 'hold', 'release', 'full', 'delta', 'pass'),
    device: fc.nat(3),
  }),
  { maxLength: 40 },
)

/** Four certificates of different ends, and every CRL that was published of them. */
async function live(steps: { kind: string; device: number }[]): Promise<void> {
  const ends = [5, 12, 20, 1000].map((hours) => new Date(now.getTime() + hours * hourMs))
  const serials = ends.map(() => newSerial())
  const state = new Map<number, Held>()
  let hours = 0
  let number = 0n
  let full: { crl: Crl; entries: RevokedCertificate[] } | undefined
  for (const { kind, device } of steps) {
    const clock = new Date(now.getTime() + hours * hourMs)
    const notAfter = ends[device] ?? now
    const serial = serials[device] ?? Buffer.alloc(1)
    const current = state.get(device)
    const listed = [...state.values()].filter((one) => belongsOnCrl(one, full?.crl.thisUpdate))
    const times = { thisUpdate: clock, nextUpdate: daysFrom(clock, 3) }
    if (kind === 'pass') hours += 1
    if (kind === 'release' && current?.reason === certificateHold) state.delete(device)
    if (kind === 'hold' && !current && clock <= notAfter) {
      state.set(device, { ...revoke(undefined, at(certificateHold, hours)), serial, notAfter })
    }
    if (kind === 'revoke' && clock <= notAfter && current?.reason !== superseded) {
      state.set(device, { ...revoke(current, at(superseded, hours)), serial, notAfter })
    }
    if (kind === 'full') {
      number += 1n
      const crl = await makeCrl(issuer, listed, { number, ...times })
      full = { crl, entries: listed }
      expectListed(state, clock, new Set([...crlEntries(crl)].map((one) => hexOf(one.serial))))
    }
    if (kind === 'delta' && full) {
      number += 1n
      const change = { number, ...times, delta: { baseNumber: full.crl.number } }
      const changes = await makeCrl(issuer, deltaEntries(full.entries, listed), change)
      const combined = applyDelta(full.crl, changes)
      expectListed(state, clock, new Set(combined.keys()))
      const released = serials.filter((_, index) => !state.has(index)).map(hexOf)
      expect(released.filter((one) => combined.has(one))).toEqual([])
    }
  }
}

function expectListed(state: Map<number, Held>, clock: Date, listed: Set<string>): void {
  const missing = [...state.values()].filter(
    ({ serial, notAfter }) => notAfter >= clock && !listed.has(hexOf(serial)),
  )
  expect(missing).toEqual([])
}

function hexOf(serial: Buffer): string {
  return serial.toString('hex')
}

test('V2 V4 whatever happens, a revoked and unexpired certificate is on every CRL', async () => {
  await fc.assert(fc.asyncProperty(commands, live), { seed: 28, numRuns: 60 })
})

test('V2 a certificate that expires after its revocation is on one full CRL', async () => {
  const record = { serial: newSerial(), revokedAt: daysFrom(now, 1), notAfter: daysFrom(now, 2) }
  const listing = (fulls: number[]) => {
    let last: Date | undefined = daysFrom(now, 0)
    return fulls.filter((day) => {
      const isListed = belongsOnCrl(record, last)
      last = daysFrom(now, day)
      return isListed
    })
  }
  expect(listing([3, 4, 5])).toEqual([3])
  expect(listing([1.5, 3, 4])).toEqual([1.5, 3])
})
