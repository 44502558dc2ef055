import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type TLSSocket } from 'node:tls'

import { expect, test } from 'vitest'

import { toPem } from '../../pki/pem.ts'
import { peerOf } from '../../server/peer-certificate.ts'
import { chainOf, keepIssuers, leafOf } from '../../server/peer-leaf.ts'
import { secureContext } from '../../server/tls.ts'
import { createBrokerPki, type Credentials } from '../support/broker-pki.ts'

/*
 * Node takes the issuers of a client's certificate away from OpenSSL, and does not free them, when it is asked for that certificate in one of two
 * ways: a server that does so loses some 10 KB for each handshake. What is still there afterwards was not taken.
 */

const pki = await createBrokerPki()

const pieces = ({ cert }: Credentials) =>
  cert
    .split(/(?<=-----END CERTIFICATE-----)\n/)
    .filter((text) => text.trim() !== '')
    .map((text) => text.trim())
const pemOf = (der: Buffer) => toPem('CERTIFICATE', der).trim()

/** Only the root is in the list: what the issuer is, OpenSSL knows from the client alone. */
async function accept(
  client: Partial<Credentials>,
  { maxVersion = 'TLSv1.3' as 'TLSv1.2' | 'TLSv1.3', times = 1 } = {},
): Promise<TLSSocket[]> {
  const authorities = { tls: pki.authorities.tls, clientCa: [pki.rootPem] }
  const context = secureContext(authorities, true)
  const server = createServer({
    ...context,
    requestCert: true,
    rejectUnauthorized: false,
    maxVersion,
  })
  keepIssuers(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const { key, cert } = client
  const sockets: TLSSocket[] = []
  let session: Buffer | undefined
  for (let n = 0; n < times; n++) {
    const arrives = once(server, 'secureConnection')
    const peer = connect({
      port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      ...(key && cert ? { key, cert } : {}),
      ...(session ? { session } : {}),
    })
    peer.on('error', () => {})
    const ticket = new Promise<Buffer>((resolve) => peer.once('session', resolve))
    const [socket] = (await arrives) as [TLSSocket]
    sockets.push(socket)
    socket.write('.')
    peer.resume()
    if (n + 1 < times) session = await ticket
    socket.once('close', () => peer.destroy())
  }
  server.close()
  return sockets
}

test('the issuers that a peer sent are still there after every look at its certificate', async () => {
  const device = await pki.device()
  const [leaf, issuer] = pieces(device)
  const [socket] = await accept(device)
  if (!socket) throw new Error('nobody came')
  expect(socket.authorized).toBe(true)
  for (let look = 0; look < 3; look++) {
    expect(pemOf(leafOf(socket)?.raw ?? Buffer.alloc(0))).toBe(leaf)
    expect(socket.getPeerX509Certificate()?.toString().trim()).toBe(leaf)
    expect(chainOf(socket, 6).map(pemOf)).toEqual([leaf, issuer, pki.rootPem.trim()])
  }
  expect(chainOf(socket, 2).map(pemOf)).toEqual([leaf, issuer])
  expect(peerOf(socket)).toMatchObject({ isCa: false })
  socket.destroy()
  expect(leafOf(socket)).toBeUndefined()
})

test('a peer that nobody vouches for is shown with what it sent', async () => {
  const stranger = await pki.selfSigned()
  const [socket] = await accept({ ...stranger, cert: stranger.cert + pki.rootPem })
  if (!socket) throw new Error('nobody came')
  expect(socket.authorized).toBe(false)
  expect(pemOf(leafOf(socket)?.raw ?? Buffer.alloc(0))).toBe(pieces(stranger)[0])
  expect(peerOf(socket)?.chain.map(pemOf)[0]).toBe(pieces(stranger)[0])
  socket.destroy()
})

test.each(['TLSv1.2', 'TLSv1.3'] as const)(
  'a resumed session of %s shows the leaf, and one without a certificate proves nothing',
  async (maxVersion) => {
    const device = await pki.device()
    const [first, second] = await accept(device, { maxVersion, times: 2 })
    expect([first, second].map((socket) => socket?.isSessionReused())).toEqual([false, true])
    for (const socket of [first, second]) {
      if (!socket) throw new Error('nobody came')
      expect(socket.authorized).toBe(true)
      expect(pemOf(leafOf(socket)?.raw ?? Buffer.alloc(0))).toBe(pieces(device)[0])
      socket.destroy()
    }
    const nobody = await accept({}, { maxVersion, times: 2 })
    for (const socket of nobody) {
      expect(socket.authorized).toBe(false)
      expect(leafOf(socket)).toBeUndefined()
      expect(socket.getPeerX509Certificate()).toBeUndefined()
      expect(peerOf(socket)).toBeUndefined()
      socket.destroy()
    }
  },
)
