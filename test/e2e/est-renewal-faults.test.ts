import { sql } from 'kysely'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'

import { buildCsr } from '../../pki/csr/build.ts'
import { generatePrivateKey } from '../../pki/keys.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  base64Lines,
  type EstAnswer,
  type EstCall,
  estClient,
  listenForDevices,
} from '../support/est-client.ts'
import {
  createIdentityWorld,
  type Enrolled,
  type IdentityWorld,
  type WorldContext,
} from '../support/identity-world.ts'

let handle: DatabaseHandle
let world: IdentityWorld
let ctx: WorldContext
let listeners: Awaited<ReturnType<typeof listenForDevices>>
let est: (call: EstCall) => Promise<EstAnswer>
let isSignerDown = false

beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  ctx = world.ctx
  const { devices } = ctx.authorities
  const sign = async (bytes: Buffer) => {
    if (isSignerDown) throw new Error('the token was pulled out')
    return await devices.signer.sign(bytes)
  }
  const signer = { algorithm: devices.signer.algorithm, spki: devices.signer.spki, sign }
  const faulty = { ...devices, signer }
  const authorities = Object.create(ctx.authorities, {
    devices: { value: faulty },
    find: { value: (id: string) => (id === devices.id ? faulty : ctx.authorities.find(id)) },
  }) as typeof ctx.authorities
  listeners = await listenForDevices({ ...ctx, authorities })
  est = estClient(ctx, listeners.device.port)
  await sql`create function refuse() returns trigger language plpgsql as $$
    begin raise exception 'no space left on device' using errcode = '53100'; end $$`.execute(ctx.db)
})
afterAll(async () => {
  await listeners[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})
afterEach(() => {
  isSignerDown = false
})

const opens = async (client: EstCall['client']) =>
  (await est({ path: '/nothing-here', client })).status === 404

function renewal(device: Enrolled, key = generatePrivateKey('P-256')) {
  const { subject } = parseCertificate(device.der)
  return { key, csr: buildCsr(key, { subject, uris: [`urn:uuid:${device.deviceId}`] }) }
}

const reenroll = (client: EstCall['client'], csr: Buffer) =>
  est({ path: 'simplereenroll', client, body: base64Lines(csr) })

/** Makes the database refuse one kind of write while `work` runs. */
async function refusing(when: string, work: () => Promise<void>): Promise<void> {
  await sql`create trigger fault before ${sql.raw(when)} execute function refuse()`.execute(ctx.db)
  try {
    await work()
  } finally {
    const [, table = ''] = / on (\w+)/.exec(when) ?? []
    await sql`drop trigger fault on ${sql.raw(table)}`.execute(ctx.db)
  }
}

const steps: [name: string, fault: (work: () => Promise<void>) => Promise<void>][] = [
  [
    'the intent cannot be stored',
    async (work) => await refusing('insert on certificate for each row', work),
  ],
  [
    'the signer is away',
    async (work) => {
      isSignerDown = true
      await work()
      isSignerDown = false
    },
  ],
  [
    'the certificate cannot be stored',
    async (work) =>
      await refusing(`update on certificate for each row when (new.state = 'issued')`, work),
  ],
  [
    'the audit row cannot be written',
    async (work) => await refusing('insert on audit_event for each row', work),
  ],
]

test.each(steps)(
  'R6 %s: the old certificate stays good, and the same request succeeds later',
  async (_step, fault) => {
    const device = await world.givenDevice()
    const { key, csr } = renewal(device)
    await fault(async () => {
      const answer = await reenroll(device, csr)
      expect(answer.status).toBeGreaterThanOrEqual(500)
      expect(answer.text).not.toMatch(/token|space/)
      expect(answer.headers['content-type']).toBe('text/plain; charset=utf-8')
      expect(await opens(device)).toBe(true)
    })
    expect(await opens(device)).toBe(true)
    const again = await reenroll(device, csr)
    expect(again.status).toBe(200)
    const next = { key, der: again.certificates[0] ?? Buffer.alloc(0) }
    // R7 It was issued, not used: both count until the new one is used.
    expect(await opens(device)).toBe(true)
    expect(await opens(next)).toBe(true)
    expect(await opens(device)).toBe(false)
  },
)
