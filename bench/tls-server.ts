import { readFileSync } from 'node:fs'
import { createServer, type SecureContext } from 'node:tls'

/** The floor: bare node:tls that asks for a client certificate and answers a CONNECT with CONNACK 0. Prints its port. */
const [, , folder = ''] = process.argv
const read = (name: string) => readFileSync(`${folder}/${name}`)
const connack = Buffer.from([0x20, 2, 0, 0])
const server = createServer(
  {
    key: read('server.key'),
    cert: read('server.pem'),
    ca: read('ca.pem'),
    requestCert: true,
    rejectUnauthorized: true,
  },
  (socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.write(connack))
    socket.on('data', (data) => {
      if (data[0] === 0xe0) socket.destroy()
    })
  },
)
// The path ends at the issuer, as with our own listeners (server/tls.ts): the floor must not pay for the root's P-384 either.
const { _sharedCreds: shared } = server as unknown as { _sharedCreds?: SecureContext }
const trust = shared?.context as { setAllowPartialTrustChain?: () => void } | undefined
trust?.setAllowPartialTrustChain?.()
server.on('tlsClientError', () => {})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  console.log(`port ${typeof address === 'object' ? address?.port : ''}`)
})
