import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { applyDelta, isDeltaTo } from '../../pki/crl/delta.ts'
import { type Crl, crlEntries, parseCrl, verifyCrl } from '../../pki/crl/parse.ts'
import { shardOf } from '../../pki/crl/shard.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { latestCrl, publishDueCrls } from '../../server/certificates/crl.ts'
import { changeRevocation, type RevocationAction } from '../../server/certificates/revocation.ts'
import { crlShards } from '../../server/certificates/shards.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { DomainError } from '../../server/errors.ts'
import { createEmbeddedDatabase } from '../support/database.ts'
import {
  createIdentityWorld,
  type Enrolled,
  type IdentityWorld,
  type WorldContext,
} from '../support/identity-world.ts'

/* V2 and V4 as a property: whatever operators do, whoever does it and however time goes by. */

let handle: DatabaseHandle
let world: IdentityWorld
let contexts: WorldContext[]
let device: () => Promise<Enrolled>
beforeAll(async () => {
  handle = await createEmbeddedDatabase()
  world = await createIdentityWorld(handle)
  contexts = [world.ctx, await world.another()]
  const profile = await world.givenProfile()
  device = async () => await world.givenDevice({ profile })
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const who = { device: fc.nat({ max: 2 }), process: fc.nat({ max: 1 }) }
const event = fc.oneof(
  fc.record({ do: fc.constant('hold' as const), ...who }),
  fc.record({ do: fc.constant('release' as const), ...who }),
  fc.record({
    do: fc.constant('revoke' as const),
    ...who,
    reason: fc.constantFrom('keyCompromise' as const, 'superseded' as const),
  }),
  fc.record({ do: fc.constant('wait' as const), hours: fc.constantFrom(1, 25, 24 * 40) }),
  fc.record({ do: fc.constant('publish' as const), process: fc.nat({ max: 1 }) }),
)
type Event = typeof event extends fc.Arbitrary<infer E> ? E : never

type Expected = 'good' | 'held' | 'revoked'

function next(before: Expected, action: 'hold' | 'release' | 'revoke'): Expected | 'refused' {
  if (action === 'revoke') return 'revoked'
  if (before === 'revoked') return 'refused'
  return action === 'hold' ? 'held' : 'good'
}

const authorityId = () => world.ctx.authorities.devices.id

async function crlOf(shard: number, isDelta = false): Promise<Crl | undefined> {
  const row = await latestCrl(world.ctx.db, authorityId(), { shard, isDelta })
  if (!row) return undefined
  const crl = parseCrl(row.der)
  expect(verifyCrl(crl, world.ctx.authorities.devices.certificate)).toBe(true)
  return crl
}

const keyOf = (serial: Buffer, reason: number) => `${serial.toString('hex')} ${reason}`
const contentOf = (entries: Iterable<{ serial: Buffer; reason: number }>) =>
  [...entries].map(({ serial, reason }) => keyOf(serial, reason)).toSorted()

async function perform(step: Event, devices: readonly Enrolled[], expected: Expected[]) {
  if (step.do === 'wait') return world.ctx.clock.advance({ seconds: step.hours * 3_600 })
  const ctx = contexts[step.process] ?? world.ctx
  if (step.do === 'publish') return await publishDueCrls(ctx)
  const { certificateId = '' } = devices[step.device] ?? {}
  const action: RevocationAction =
    step.do === 'revoke' ? { action: 'revoke', reason: step.reason } : { action: step.do }
  const after = next(expected[step.device] ?? 'good', step.do)
  const outcome = await changeRevocation(ctx, {
    ...action,
    certificateId,
    by: { id: 'key:test' },
  }).then(
    () => 'done',
    (error: unknown) => (error instanceof DomainError ? error.code : String(error)),
  )
  expect(outcome).toBe(after === 'refused' ? 'illegal-transition' : 'done')
  if (after !== 'refused') expected[step.device] = after
}

/** Full lists that were published, which a partner may still have. */
async function check(devices: readonly Enrolled[], expected: readonly Expected[], seen: Crl[]) {
  const whole = await crlOf(-1)
  if (!whole) throw new Error('no CRL')
  const last = seen.at(-1)
  // V1, V12.
  if (last) expect(whole.number).toBeGreaterThanOrEqual(last.number)
  if (last) expect(whole.thisUpdate >= last.thisUpdate).toBe(true)
  if (last?.number !== whole.number) seen.push(whole)
  const listed = new Map(
    [...crlEntries(whole)].map((entry) => [entry.serial.toString('hex'), entry]),
  )
  for (const [at, { der }] of devices.entries()) {
    const { serial, notAfter } = parseCertificate(der)
    const entry = listed.get(serial.toString('hex'))
    const isOver = notAfter < world.ctx.clock.now()
    if (expected[at] === 'good') expect(entry).toBeUndefined()
    // V2: it never leaves the list before its end.
    else if (!isOver) expect(entry?.reason).toBe(expected[at] === 'held' ? 6 : entry?.reason)
    if (expected[at] !== 'good' && !isOver) expect(entry).toBeDefined()
  }
  const delta = await crlOf(-1, true)
  for (const base of seen) {
    if (!delta || !isDeltaTo(delta, base)) continue
    // V4: on any list it applies to, the delta gives what the full list says; it leaves expired entries to the base.
    const merged = [...applyDelta(base, delta).values()].map((entry) => ({ ...entry }))
    const current = new Set(contentOf(crlEntries(whole)))
    for (const key of current) expect(contentOf(merged)).toContain(key)
    for (const { serial, reason } of merged) {
      const at = devices.findIndex(({ der }) => parseCertificate(der).serial.equals(serial))
      if (at >= 0 && expected[at] === 'good') expect(keyOf(serial, reason)).toBe('not listed')
    }
  }
}

/** V5; a shard that did not change since keeps an expired entry until its next turn. */
async function checkShards(devices: readonly Enrolled[]): Promise<void> {
  const shards: string[] = []
  for (let shard = 0; shard < crlShards; shard++) {
    const crl = await crlOf(shard)
    if (crl) shards.push(...contentOf(crlEntries(crl)))
  }
  const whole = await crlOf(-1)
  const onlyExpired = [...shards].filter(
    (key) => !contentOf(whole ? crlEntries(whole) : []).includes(key),
  )
  for (const key of onlyExpired) {
    const [serial] = key.split(' ')
    const over = devices.some(({ der }) => {
      const certificate = parseCertificate(der)
      const isIt = certificate.serial.toString('hex') === serial
      return isIt && certificate.notAfter >= world.ctx.clock.now()
    })
    expect(over).toBe(false)
  }
  for (const key of whole ? contentOf(crlEntries(whole)) : []) expect(shards).toContain(key)
}

test('V11 revoked before there was any CRL: refused at once, and on the first one', async () => {
  const { ctx } = world
  const stolen = await device()
  expect(await crlOf(-1)).toBeUndefined()
  const { certificateId, fingerprint } = stolen
  expect((await ctx.identities.check(fingerprint)).allowed).toBe(true)
  const by = { id: 'key:test' }
  await changeRevocation(ctx, { action: 'revoke', reason: 'keyCompromise', certificateId, by })
  expect(ctx.identities.peek(fingerprint)).toMatchObject({ refusal: 'certificate-revoked' })
  const { serial } = parseCertificate(stolen.der)
  for (const shard of [-1, shardOf(serial, crlShards)]) {
    const first = await crlOf(shard)
    expect(first?.number).toBe(1n)
    expect(first && contentOf(crlEntries(first))).toEqual([keyOf(serial, 1)])
    expect(await crlOf(shard, true)).toBeUndefined()
  }
})

test('V1, V2, V4, V5 whatever happens, lists and deltas tell what was revoked and is not over', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(event, { minLength: 4, maxLength: 14 }), async (events) => {
      const devices = [await device(), await device(), await device()]
      const expected: Expected[] = ['good', 'good', 'good']
      const seen: Crl[] = []
      await publishDueCrls(world.ctx)
      for (const step of events) {
        await perform(step, devices, expected)
        await publishDueCrls(world.ctx)
        await check(devices, expected, seen)
      }
      await checkShards(devices)
    }),
    { numRuns: 12, seed: 20_260, endOnFailure: true },
  )
})
