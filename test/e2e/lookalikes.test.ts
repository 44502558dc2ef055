import { randomUUID } from 'node:crypto'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { buildCsr } from '../../pki/csr/build.ts'
import { fingerprint, parseCertificate } from '../../pki/x509/parse.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createBrokerPki } from '../support/broker-pki.ts'
import { startTestBroker, type TestBroker } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import { base64Lines, estClient, listenForDevices } from '../support/est-client.ts'
import { createIdentityWorld, type IdentityWorld } from '../support/identity-world.ts'
import { lookalikes } from '../support/lookalikes.ts'
import { type Held, heldPem } from '../support/manufacturer.ts'

// Signed by the issuer of devices and on the wire: nothing but what they are stands in their way.
let handle: DatabaseHandle
let world: IdentityWorld
let listeners: Awaited<ReturnType<typeof listenForDevices>>
let est: ReturnType<typeof estClient>
let pki: Awaited<ReturnType<typeof createBrokerPki>>
let broker: TestBroker

beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  listeners = await listenForDevices(world.ctx)
  est = estClient(world.ctx, listeners.device.port)
  pki = await createBrokerPki()
  broker = await startTestBroker(handle, { pki })
})
afterAll(async () => {
  await broker[Symbol.asyncDispose]()
  await listeners[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const isHonest = (name: string) => name.includes('honest')

/** As if it had been issued: the database knows it for the certificate of the device. */
async function registered(make: (typeof lookalikes)[string]): Promise<Held> {
  const { ctx } = world
  const device = await world.givenDevice()
  const held = await make(ctx.authorities.devices, device.deviceId)
  await ctx.db
    .updateTable('certificate')
    .set({ der: held.der, fingerprint: fingerprint(held.der) })
    .where('id', '=', device.certificateId)
    .execute()
  await ctx.identities.refresh([device.deviceId])
  return held
}

/** A request with the names of the certificate. */
function renewal({ der, key }: Held): string {
  const { subject, subjectAltName = [] } = parseCertificate(der)
  const uris = subjectAltName.flatMap((name) => (name.type === 'uri' ? [name.value] : []))
  return base64Lines(buildCsr(key, { subject, uris }))
}

describe('A8, A9, A10, A14 at the port of devices, TLS 1.2 and 1.3', () => {
  test.each(Object.entries(lookalikes))('%s', async (name, make) => {
    const held = await registered(make)
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const tls = { ...heldPem(held), maxVersion }
      const { status } = await est({ path: '/nothing-here', tls })
      // 404 is the answer of somebody who was let in.
      expect([maxVersion, status]).toEqual([maxVersion, isHonest(name) ? 404 : 403])
    }
    const renewed = await est({
      path: 'simplereenroll',
      body: renewal(held),
      tls: heldPem(held),
    })
    expect(renewed.status).toBe(isHonest(name) ? 200 : 403)
  })
})

describe('A8, A9, A10, A14 at the broker, TLS 1.2 and 1.3', () => {
  test.each(Object.entries(lookalikes))('%s', async (name, make) => {
    const deviceId = randomUUID()
    const held = await make(pki.devices, deviceId)
    const credentials = { ...heldPem(held), deviceId, fingerprint: fingerprint(held.der) }
    broker.directory.allow(credentials)
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const before = await broker.refusals('certificate-not-trusted')
      const device = await broker.open(credentials, { maxVersion })
      const answer = await device.connect({ clientId: deviceId })
      expect([maxVersion, answer]).toEqual([maxVersion, isHonest(name) ? 0 : 'closed'])
      expect(await broker.refusals('certificate-not-trusted')).toBe(
        before + (isHonest(name) ? 0 : 1),
      )
      await device.close()
    }
  })
})
