import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:tls'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { followRenewals, secureContext, shareTickets, type TicketSecret } from '../../server/tls.ts'
import { type Credentials, createBrokerPki } from '../support/broker-pki.ts'
import { startTestBroker, type TestBroker } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import { RawDevice } from '../support/raw-device.ts'

/* Broker.md §7, 24 and 40: a session resumes at another process, and never past a revocation. */

class Secret implements TicketSecret {
  #bytes: Buffer = randomBytes(48)
  readonly #listeners: (() => void)[] = []
  current = () => this.#bytes
  onChange = (listener: () => void) => void this.#listeners.push(listener)
  look = async () => {}
  replace(): void {
    this.#bytes = randomBytes(48)
    for (const listener of this.#listeners) listener()
  }
}

let stack: AsyncDisposableStack
let here: TestBroker
let there: TestBroker
/** Its tickets are its own. */
let alone: TestBroker
const secret = new Secret()
const made = await createBrokerPki()
const pki = { ...made, authorities: { ...made.authorities } }
const renewals: (() => void)[] = []

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  const handle: DatabaseHandle = stack.use(await createTestDatabase())
  pki.authorities.onRenewal = (listener) => void renewals.push(() => listener(pki.authorities.tls))
  here = stack.use(await startTestBroker(handle, { pki, tickets: secret }))
  there = stack.use(await startTestBroker(handle, { pki, tickets: secret }))
  alone = stack.use(await startTestBroker(handle, { pki }))
}, 120_000)
afterAll(() => stack.disposeAsync())

async function known(): Promise<Credentials> {
  const credentials = await here.device()
  there.directory.allow(credentials)
  alone.directory.allow(credentials)
  return credentials
}

test('a ticket of the listener for HTTPS is worth nothing at the one for MQTT', async () => {
  const credentials = await known()
  const server = createServer({ ...secureContext(pki.authorities, true), requestCert: true })
  followRenewals(server, pki.authorities, true)
  shareTickets(server, { authorities: pki.authorities, tickets: secret }, 'device')
  server.on('tlsClientError', () => {})
  server.on('secureConnection', (socket) => socket.on('error', () => {}).resume())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  stack.defer(() => void server.close())
  const { port } = server.address() as AddressInfo
  const versions = { maxVersion: 'TLSv1.3', minVersion: 'TLSv1.3' } as const
  const first = await RawDevice.open(port, pki.rootPem, credentials, versions)
  await expect.poll(() => first.tickets.length, { timeout: 60_000 }).toBeGreaterThan(0)
  const [session] = first.tickets
  await first.close()
  if (!session) throw new Error('There is no ticket')
  const again = await RawDevice.open(port, pki.rootPem, credentials, { ...versions, session })
  expect(again.socket.isSessionReused()).toBe(true)
  await again.close()
  const other = await here.open(credentials, { ...versions, session })
  expect(other.socket.isSessionReused()).toBe(false)
  expect(await other.connect({ clientId: credentials.deviceId })).toBe(0)
  await other.close()
})

/** How a device of one version of TLS comes and goes. */
function devicesOf(version: 'TLSv1.2' | 'TLSv1.3') {
  const versions = { minVersion: version, maxVersion: version }

  async function ticketOf(broker: TestBroker, credentials: Credentials): Promise<Buffer> {
    const device = await broker.open(credentials, versions)
    expect(device.socket.isSessionReused()).toBe(false)
    expect(await device.connect({ clientId: credentials.deviceId })).toBe(0)
    await expect.poll(() => device.tickets.length, { timeout: 60_000 }).toBeGreaterThan(0)
    await device.close()
    const ticket = device.tickets.at(-1)
    if (!ticket) throw new Error('There is no ticket')
    return ticket
  }

  async function comeWith(
    broker: TestBroker,
    { credentials, session }: { credentials: Credentials; session: Buffer },
  ): Promise<{ isResumed: boolean; code: number | 'closed'; device: RawDevice }> {
    const device = await broker.open(credentials, { ...versions, session })
    const isResumed = device.socket.isSessionReused()
    const code = await device.connect({ clientId: credentials.deviceId })
    await device.close()
    return { isResumed, code, device }
  }

  return { ticketOf, comeWith }
}

describe.each(['TLSv1.2', 'TLSv1.3'] as const)('with %s', (version) => {
  const { ticketOf, comeWith } = devicesOf(version)

  test('a ticket of one process is good at the other, and at its own', async () => {
    const credentials = await known()
    for (const broker of [there, here]) {
      const session = await ticketOf(here, credentials)
      expect(await comeWith(broker, { credentials, session })).toMatchObject({
        isResumed: true,
        code: 0,
      })
    }
  })

  test('who was cut off resumes, and is refused all the same', async () => {
    const credentials = await known()
    const session = await ticketOf(here, credentials)
    for (const broker of [here, there]) broker.directory.refuse(credentials, 'device-disabled')
    for (const broker of [there, here]) {
      expect(await comeWith(broker, { credentials, session })).toMatchObject({
        isResumed: true,
        code: 5,
      })
    }
  })

  test('where the secret is not known, the handshake is a full one and nothing fails', async () => {
    const credentials = await known()
    const session = await ticketOf(here, credentials)
    const full = { isResumed: false, code: 0 }
    expect(await comeWith(alone, { credentials, session })).toMatchObject(full)
    const other = await ticketOf(alone, credentials)
    expect(await comeWith(there, { credentials, session: other })).toMatchObject(full)
  })

  test('a ticket from before the secret was replaced is worth nothing; one from after is', async () => {
    const credentials = await known()
    const session = await ticketOf(here, credentials)
    secret.replace()
    for (const broker of [here, there]) {
      const came = await comeWith(broker, { credentials, session })
      expect(came).toMatchObject({ isResumed: false, code: 0 })
    }
    const fresh = await ticketOf(there, credentials)
    const came = await comeWith(here, { credentials, session: fresh })
    expect(came).toMatchObject({ isResumed: true, code: 0 })
  })

  test('a renewal of the server certificate leaves tickets as they are; another list of authorities ends them', async () => {
    const credentials = await known()
    const session = await ticketOf(here, credentials)
    for (const renewed of renewals) renewed()
    const came = await comeWith(there, { credentials, session })
    expect(came).toMatchObject({ isResumed: true, code: 0 })
    const late = await ticketOf(here, credentials)
    const { clientCa } = pki.authorities
    const trust = (list: string[]) => Object.assign(pki.authorities, { clientCa: list })
    trust(clientCa.toReversed().concat(clientCa.slice(0, 1)))
    for (const renewed of renewals) renewed()
    const after = await comeWith(there, { credentials, session: late })
    expect(after).toMatchObject({ isResumed: false, code: 0 })
    trust(clientCa)
    for (const renewed of renewals) renewed()
  })
})
