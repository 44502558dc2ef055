import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type TLSSocket } from 'node:tls'

import { expect, test } from 'vitest'

import { toPem } from '../../pki/pem.ts'
import { followRenewals, secureContext } from '../../server/tls.ts'
import { createBrokerPki, type Credentials } from '../support/broker-pki.ts'
import { type Authority, daysFrom, makeIssuer, makeRoot } from '../support/pki-fixture.ts'

/*
 * Whose certificates a listener takes: of the authorities in its list, each of which is trusted by itself, so that a handshake
 * does not verify the root's signature again (server/tls.ts, docs/performance.md).
 */

const pki = await createBrokerPki()
const pem = ({ certificate }: Authority) => toPem('CERTIFICATE', certificate.der)

interface Listener extends AsyncDisposable {
  /** What OpenSSL said of a peer's certificate; null when it is good. */
  verdictOn: (peer: Pick<Credentials, 'key' | 'cert'>) => Promise<string | null>
  renew: () => void
}

async function listenFor(clientCa: string[]): Promise<Listener> {
  const listeners: (() => void)[] = []
  const authorities = {
    tls: pki.authorities.tls,
    clientCa,
    onRenewal: (listener: () => void) => void listeners.push(listener),
  } as unknown as typeof pki.authorities
  const server = createServer({
    ...secureContext(authorities, true),
    requestCert: true,
    rejectUnauthorized: false,
  })
  followRenewals(server, authorities, true)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    renew: () => listeners.forEach((listener) => listener()),
    verdictOn: async ({ key, cert }) => {
      const arrives = once(server, 'secureConnection')
      const client = connect({ port, host: '127.0.0.1', key, cert, rejectUnauthorized: false })
      client.on('error', () => {})
      const [socket] = (await arrives) as [TLSSocket]
      const { authorized, authorizationError } = socket
      socket.destroy()
      client.destroy()
      return authorized ? null : String(authorizationError)
    },
    [Symbol.asyncDispose]: async () => {
      server.close()
      await once(server, 'close')
    },
  }
}

const leafOf = ({ cert }: Credentials) =>
  `${cert.split('-----END CERTIFICATE-----')[0]}-----END CERTIFICATE-----\n`

test('an issuer in the list is enough, also after a renewal, whatever of the chain a device sends', async () => {
  const device = await pki.device()
  await using listener = await listenFor([pem(pki.devices)])
  for (const renewed of [false, true]) {
    if (renewed) listener.renew()
    expect(await listener.verdictOn(device)).toBeNull()
    expect(await listener.verdictOn({ ...device, cert: leafOf(device) })).toBeNull()
  }
})

test('with the root in the list, a device that sends its issuer is taken as well', async () => {
  const device = await pki.device()
  await using listener = await listenFor([pki.rootPem])
  expect(await listener.verdictOn(device)).toBeNull()
  expect(await listener.verdictOn({ ...device, cert: leafOf(device) })).not.toBeNull()
})

test('an authority of the same name with another key, or one that is not in the list, is nobody', async () => {
  const stranger = await makeIssuer(await makeRoot('P-256'))
  await using listener = await listenFor([pem(pki.devices)])
  const impostor = await pki.device({ issuer: stranger })
  expect(await listener.verdictOn(impostor)).not.toBeNull()
  expect(
    await listener.verdictOn({ ...impostor, cert: leafOf(impostor) + pem(pki.devices) }),
  ).not.toBeNull()
  expect(await listener.verdictOn(await pki.device({ issuer: pki.servers }))).not.toBeNull()
  expect(await listener.verdictOn(await pki.selfSigned())).not.toBeNull()
})

test('trusted by itself is not trusted for ever: an issuer past its end, or a certificate past its own, is refused', async () => {
  const today = new Date()
  const root = await makeRoot('P-256')
  const old = await makeIssuer(root, {
    notBefore: daysFrom(today, -30),
    notAfter: daysFrom(today, -2),
  })
  await using listener = await listenFor([pem(old), pem(pki.devices)])
  const orphan = await pki.device({ issuer: old })
  expect(await listener.verdictOn(orphan)).toBe('CERT_HAS_EXPIRED')
  const late = await pki.device({ notBefore: daysFrom(today, -9), notAfter: daysFrom(today, -3) })
  expect(await listener.verdictOn(late)).toBe('CERT_HAS_EXPIRED')
  expect(await listener.verdictOn(await pki.device())).toBeNull()
})
