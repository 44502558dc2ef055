import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { buildCsr } from '../../pki/csr/build.ts'
import { encodeName } from '../../pki/names.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { decideRequest } from '../../server/enrollment/approval.ts'
import { forgetStale } from '../../server/enrollment/workers.ts'
import { createTestDatabase } from '../support/database.ts'
import { base64Lines, estClient, listenForDevices } from '../support/est-client.ts'
import {
  createIdentityWorld,
  type IdentityWorld,
  newRequest,
  unique,
} from '../support/identity-world.ts'

let handle: DatabaseHandle
let world: IdentityWorld
let listeners: Awaited<ReturnType<typeof listenForDevices>>
let est: ReturnType<typeof estClient>

beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  listeners = await listenForDevices(world.ctx)
  est = estClient(world.ctx, listeners.device.port)
})
afterAll(async () => {
  await listeners[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const who = { id: 'key:test', requestId: 'test' }

async function givenLine(limits: { maxUses?: number } = {}, body: object = {}) {
  const profile = await world.givenProfile({ approval: 'manual', ...body })
  const token = await world.givenToken(profile.id, limits)
  const ask = async (csr: Buffer) =>
    await est({ path: 'simpleenroll', user: profile.name, token, body: base64Lines(csr) })
  const waiting = async () =>
    await world.ctx.db
      .selectFrom('enrollment_request')
      .selectAll()
      .where('profile_id', '=', profile.id)
      .orderBy('id')
      .execute()
  const decide = async (action: 'approve' | 'deny', serialNumber: string) => {
    const request = (await waiting()).find((one) => one.serial_number === serialNumber)
    const reason = undefined
    return await decideRequest(world.ctx, { id: request?.id ?? '', action, reason, by: who })
  }
  const used = async () =>
    await world.ctx.db
      .selectFrom('enrollment_profile')
      .select('used')
      .where('id', '=', profile.id)
      .executeTakeFirst()
  return { profile, token, ask, waiting, decide, used }
}

describe('approval by hand', () => {
  test('E11 a request waits; once approved the same request gets the certificate', async () => {
    const line = await givenLine()
    const serial = unique('SN')
    const { csr } = newRequest(serial)
    for (let n = 0; n < 2; n++) {
      const answer = await line.ask(csr)
      expect(answer.status).toBe(202)
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
      expect(answer.headers['content-type']).toBe('text/plain; charset=utf-8')
    }
    expect(await line.waiting()).toHaveLength(1)
    expect(await line.used()).toEqual({ used: 0 })
    await line.decide('approve', serial)
    const answer = await line.ask(csr)
    expect(answer.status).toBe(200)
    expect(await line.used()).toEqual({ used: 1 })
    expect((await line.ask(csr)).certificates).toEqual(answer.certificates)
    expect(await line.waiting()).toMatchObject([{ state: 'issued' }])
  })

  test('E11 a request that was signed again with the same key gets it too, once; another key does not', async () => {
    const line = await givenLine()
    const serial = unique('SN')
    const { key, csr } = newRequest(serial)
    const again = () => buildCsr(key, { subject: encodeName({ commonName: serial }) })
    expect((await line.ask(csr)).status).toBe(202)
    await line.decide('approve', serial)
    expect((await line.ask(newRequest(serial).csr)).status).toBe(202)
    const first = await line.ask(again())
    expect(first.status).toBe(200)
    expect(again()).not.toEqual(csr)
    expect((await line.ask(again())).certificates).toEqual(first.certificates)
    expect(await line.used()).toEqual({ used: 1 })
    // Other names with the approved key are another request.
    const other = buildCsr(key, { subject: encodeName({ commonName: unique('SN') }) })
    expect((await line.ask(other)).status).toBe(202)
  })
})

describe('approval by hand: limits', () => {
  test('a request that was denied is refused from then on, also when it had been approved', async () => {
    const line = await givenLine()
    const [one, two] = [unique('SN'), unique('SN')]
    const { csr } = newRequest(one)
    const second = newRequest(two)
    await line.ask(csr)
    await line.ask(second.csr)
    await line.decide('deny', one)
    await line.decide('approve', two)
    await line.decide('deny', two)
    expect((await line.ask(csr)).status).toBe(403)
    expect((await line.ask(second.csr)).status).toBe(403)
    await expect(line.decide('approve', one)).rejects.toMatchObject({ code: 'illegal-transition' })
    const audit = await world.ctx.db
      .selectFrom('audit_event')
      .select('action')
      .where('action', 'like', 'enrollment-request.%')
      .where(
        'subject',
        'in',
        (await line.waiting()).map(({ id }) => id),
      )
      .execute()
    expect(audit.map(({ action }) => action).toSorted()).toEqual([
      'enrollment-request.approve',
      'enrollment-request.create',
      'enrollment-request.create',
      'enrollment-request.deny',
      'enrollment-request.deny',
    ])
  })

  test('no more may wait than a token could enroll, and nothing waits that could not enroll at all', async () => {
    const line = await givenLine({ maxUses: 1 }, { idPattern: '^SN-[\\d-]+$' })
    expect((await line.ask(newRequest('nonsense').csr)).status).toBe(403)
    const serial = unique('SN')
    const { csr } = newRequest(serial)
    expect((await line.ask(csr)).status).toBe(202)
    expect((await line.ask(newRequest(unique('SN')).csr)).status).toBe(403)
    await line.decide('approve', serial)
    expect((await line.ask(csr)).status).toBe(200)
    expect((await line.ask(newRequest(unique('SN')).csr)).status).toBe(403)
    expect(await line.waiting()).toHaveLength(1)
  })
})

describe('approval by hand: races and time', () => {
  test('two processes give out one certificate for an approved request', async () => {
    const line = await givenLine()
    const serial = unique('SN')
    const { key, csr } = newRequest(serial)
    await line.ask(csr)
    await line.decide('approve', serial)
    const other = await world.another()
    const signed = [1, 2, 3].map(() =>
      buildCsr(key, { subject: encodeName({ commonName: serial }) }),
    )
    const results = await Promise.allSettled(
      signed.map((again, n) =>
        world.enrollWith(line.token, again, n % 2 === 0 ? other : world.ctx),
      ),
    )
    const ders = results.flatMap((result) =>
      result.status === 'fulfilled' ? result.value.toString('hex') : [],
    )
    expect(new Set(ders).size).toBe(1)
    expect(await line.used()).toEqual({ used: 1 })
  })

  test('what nobody asks about any more is forgotten', async () => {
    const line = await givenLine()
    await line.ask(newRequest(unique('SN')).csr)
    await forgetStale(world.ctx)
    expect(await line.waiting()).toHaveLength(1)
    world.ctx.clock.advance({ seconds: 31 * 86_400 })
    await forgetStale(world.ctx)
    expect(await line.waiting()).toHaveLength(0)
  })
})
