import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { type EstAnswer, type EstCall, estClient, listenForDevices } from '../support/est-client.ts'
import {
  createIdentityWorld,
  type IdentityWorld,
  newRequest,
  unique,
} from '../support/identity-world.ts'

let handle: DatabaseHandle
let world: IdentityWorld
let listeners: Awaited<ReturnType<typeof listenForDevices>>
let est: (call: EstCall) => Promise<EstAnswer>
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

const isRefusal = (status: number) => status >= 400 && status < 500

test('no body makes a 5xx: bytes, base64 of bytes, and requests with a few octets changed', async () => {
  const profile = await world.givenProfile()
  const token = await world.givenToken(profile.id)
  const { csr } = newRequest(unique('SN'))
  const changed = fc
    .array(fc.tuple(fc.nat(csr.length - 1), fc.integer({ min: 1, max: 255 })), {
      minLength: 1,
      maxLength: 4,
    })
    .map((changes) => {
      const der = Buffer.from(csr)
      for (const [at, bits] of changes) der[at] = (der[at] ?? 0) ^ bits
      return der.toString('base64')
    })
  const bytes = fc.uint8Array({ maxLength: 400 }).map((array) => Buffer.from(array))
  const body = fc.oneof(
    changed,
    bytes,
    bytes.map((buffer) => buffer.toString('base64')),
  )
  await fc.assert(
    fc.asyncProperty(body, async (sent) => {
      const { status } = await est({ path: 'simpleenroll', user: profile.name, token, body: sent })
      // Two changes may undo each other.
      expect([sent === csr.toString('base64') || isRefusal(status), status]).toEqual([true, status])
    }),
    { seed: 11, numRuns: 120 },
  )
  const good = { path: 'simpleenroll', user: profile.name, token, body: csr.toString('base64') }
  expect((await est(good)).status).toBe(200)
})

test('no path, label or credentials make a 5xx', async () => {
  const part = fc
    .stringMatching(/^[!-~]{0,12}$/)
    .map((text) => encodeURI(text).replaceAll(/[?#]/g, ''))
  const call = fc.record({
    path: fc.array(fc.oneof(part, fc.constantFrom('simpleenroll', 'cacerts', '..', '%')), {
      maxLength: 3,
    }),
    authorization: fc.oneof(
      fc.stringMatching(/^[ -~]{0,40}$/),
      fc.string({ maxLength: 40 }).map((text) => `Basic ${Buffer.from(text).toString('base64')}`),
    ),
    method: fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'HEAD'),
  })
  await fc.assert(
    fc.asyncProperty(call, async ({ path, authorization, method }) => {
      const { status } = await est({
        path: `/.well-known/est/${path.join('/')}`,
        method,
        headers: { Authorization: authorization.trim(), 'Content-Type': 'application/pkcs10' },
      })
      expect(status).toBeLessThan(500)
    }),
    { seed: 12, numRuns: 120 },
  )
})
