import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createServer, type TLSSocket } from 'node:tls'

/** A certificate for localhost that signs itself; gives the paths of `cert` and `key`. */
export function selfSigned(folder: string, name: string): { cert: string; key: string } {
  const cert = join(folder, `${name}.pem`)
  const key = join(folder, `${name}.key`)
  const words =
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost'
  execFileSync(
    'openssl',
    [
      ...words.split(' '),
      '-addext',
      'subjectAltName=DNS:localhost,IP:127.0.0.1',
      '-keyout',
      key,
      '-out',
      cert,
    ],
    { stdio: 'ignore' },
  )
  return { cert, key }
}

export interface SyslogReceiver extends AsyncDisposable {
  port: number
  messages: string[]
  connections: () => number
  /** Breaks every connection, as a machine that loses its power. */
  breakOff: () => void
}

/** A receiver of syslog over TLS that takes frames of RFC 5425 and nothing else. */
export async function startReceiver(
  { cert, key }: { cert: string; key: string },
  { port = 0, clientCa }: { port?: number; clientCa?: string } = {},
): Promise<SyslogReceiver> {
  const messages: string[] = []
  const sockets = new Set<TLSSocket>()
  let connections = 0
  const server = createServer(
    {
      cert: readFileSync(cert),
      key: readFileSync(key),
      ...(clientCa === undefined
        ? {}
        : { ca: readFileSync(clientCa), requestCert: true, rejectUnauthorized: true }),
    },
    (socket) => {
      connections++
      sockets.add(socket)
      let rest = Buffer.alloc(0)
      socket.on('error', () => {})
      socket.on('close', () => sockets.delete(socket))
      socket.on('data', (chunk: Buffer) => {
        rest = Buffer.concat([rest, chunk])
        for (;;) {
          const [, digits] = /^([1-9]\d{0,5}) /.exec(rest.toString('latin1', 0, 8)) ?? []
          if (digits === undefined) return
          const begin = digits.length + 1
          const end = begin + Number(digits)
          if (rest.length < end) return
          messages.push(rest.toString('utf8', begin, end))
          rest = rest.subarray(end)
        }
      })
    },
  )
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const address = server.address()
  const breakOff = () => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    port: typeof address === 'object' ? (address?.port ?? 0) : 0,
    messages,
    connections: () => connections,
    breakOff,
    [Symbol.asyncDispose]: async () => {
      breakOff()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}
