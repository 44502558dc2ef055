import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { deploymentMessages } from '../../server/deployments/messages.ts'
import { helloMessage } from '../../server/devices/hello.ts'
import { eventMessages } from '../../server/events/messages.ts'
import { deploymentStates } from '../../server/protocol/deployment.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenMet } from '../support/rollout-given.ts'
import { type RolloutWorld, rolloutWorld } from '../support/rollout-world.ts'

/**
 * Device messages that are right in form and wild in content, against the real handlers and a real PostgreSQL: the
 * broker refuses what does not parse, and what parses must be stored or refused, never break the group it came in.
 */
const seed = 20_261_126
const numRuns = 150
const hello = helloMessage(async () => new Map())
const handlers = [hello, ...deploymentMessages, ...eventMessages]

let handle: DatabaseHandle
let world: RolloutWorld
let devices: string[]
let deployments: string[]
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
  const met = await givenMet(world, 4)
  devices = met.ids
  deployments = met.deployments
})
afterAll(() => handle[Symbol.asyncDispose]())

/** What PostgreSQL, JSON or a log might choke on. */
const wild = (max: number) =>
  fc.oneof(
    fc.string({ minLength: 1, maxLength: max, unit: 'binary' }),
    fc.constantFrom(
      '\u0000',
      'a\u0000b',
      '\ud800',
      '\u2028',
      "'; drop table device; --",
      '${jndi}',
      '\\',
      '"',
    ),
  )
const counter = fc.oneof(fc.nat(), fc.constantFrom(0, Number.MAX_SAFE_INTEGER))
const component = fc.constantFrom('main', 'radio', 'a', 'x'.repeat(32))
const hex = (length: number) =>
  fc.string({
    minLength: length,
    maxLength: length,
    unit: fc.constantFrom(...Array.from('0123456789abcdef')),
  })
const at = fc.constantFrom(
  '2026-11-26T10:00:00Z',
  '1970-01-01T00:00:00.000Z',
  '9999-12-31T23:59:59Z',
  '0000-01-01T00:00:00Z',
  '0001-02-29T00:00:00Z',
)
const deploymentId = () => fc.oneof(fc.constantFrom(...deployments), fc.uuid())

const bodies = {
  hello: () =>
    fc.record({
      agent: wild(100),
      model: component,
      hardwareIds: fc.array(wild(64), { minLength: 1, maxLength: 16 }),
      installed: fc.array(
        fc.record({ component, version: wild(64), build: counter, svn: counter, sha256: hex(64) }),
        { maxLength: 16 },
      ),
      attributes: fc.dictionary(
        wild(64),
        fc.oneof(wild(256), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.boolean()),
        { maxKeys: 20 },
      ),
      nonce: hex(32),
      have: fc.record({ director: fc.dictionary(wild(80), counter, { maxKeys: 10 }) }),
      optOut: fc.boolean(),
    }),
  report: () =>
    fc.record(
      {
        deploymentId: deploymentId(),
        state: fc.constantFrom(...deploymentStates),
        progress: fc.integer({ min: 0, max: 100 }),
        code: fc.constantFrom('hash', 'arbitrary', 'x', '0'),
        detail: wild(500),
        sha256: hex(64),
        commitNonce: hex(32),
        at,
      },
      { requiredKeys: ['deploymentId', 'state', 'at'] },
    ),
  choice: () =>
    fc.record(
      {
        deploymentId: deploymentId(),
        choice: fc.constantFrom('accept', 'postpone', 'optOut', 'optIn'),
        until: at,
      },
      { requiredKeys: ['choice'] },
    ),
  event: () =>
    fc.record({
      kind: component,
      severity: fc.constantFrom('info', 'warning', 'critical'),
      detail: wild(1000),
      at,
    }),
}

test.each(Object.keys(bodies) as (keyof typeof bodies)[])(
  'no group of %s messages breaks the transaction it is stored in',
  async (leaf) => {
    const handler = handlers.find((one) => one.leaf === leaf)
    if (!handler) throw new Error(`no handler for ${leaf}`)
    let stored = 0
    const group = fc.array(fc.tuple(fc.nat({ max: 3 }), bodies[leaf]()), {
      minLength: 1,
      maxLength: 8,
    })
    await fc.assert(
      fc.asyncProperty(group, async (messages) => {
        const parsed = messages.flatMap(([who, body]) => {
          const read = handler.parse(Buffer.from(JSON.stringify(body)))
          return read ? [{ deviceId: devices[who] ?? '', ...read }] : []
        })
        if (parsed.length === 0) return
        const now = world.clock.now()
        const after = await inTransaction(handle.db, (tx) =>
          handler.store({ tx, ctx: world.ctx, now, messages: parsed }),
        )
        await after?.(world.ctx)
        stored += parsed.length
      }),
      { seed, numRuns },
    )
    // Most of it is right in form, or nothing was tried.
    expect(stored).toBeGreaterThan(numRuns)
  },
)
