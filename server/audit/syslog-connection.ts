import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'

import type { SyslogSettings } from '../audit-config.ts'

const timeoutMs = 10_000

/** A connection to a receiver of syslog (RFC 5425). It answers nothing: that it is still open is all there is to know. */
export interface SyslogConnection {
  /** Undefined while nothing is wrong. */
  failure: () => Error | undefined
  /** Hands bytes to the system. Waits while it takes no more; fails when that lasts too long. */
  send: (bytes: Buffer) => Promise<void>
  /** Ends it; true when the other side has taken everything and ended too. */
  close: () => Promise<boolean>
  /** Ends it at once. */
  destroy: () => void
}

/** @throws Error of Node: the receiver is not there, or its certificate is not one of the authority */
export async function connectSyslog(settings: SyslogSettings): Promise<SyslogConnection> {
  const file = async (path: string | undefined) =>
    path === undefined ? undefined : await readFile(path)
  const [ca, cert, key] = await Promise.all([
    file(settings.caFile),
    file(settings.certFile),
    file(settings.keyFile),
  ])
  const { host, port } = settings
  const socket = connect({
    host,
    port,
    minVersion: 'TLSv1.2',
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(ca ? { ca } : {}),
    ...(cert && key ? { cert, key } : {}),
  })
  let failure: Error | undefined
  socket.on('error', (error) => (failure ??= error))
  socket.on('close', () => (failure ??= new Error('The receiver has ended the connection')))
  // It has nothing to say; reading shows when it goes.
  socket.resume()
  await within(socket, once(socket, 'secureConnect'))
  socket.setKeepAlive(true, 15_000)
  return {
    failure: () => failure,
    send: async (bytes) => {
      if (failure) throw failure
      await within(
        socket,
        new Promise<void>((resolve, reject) => {
          socket.write(bytes, (error) => (error ? reject(error) : resolve()))
        }),
      )
    },
    close: async () => {
      if (failure) return false
      const closed = once(socket, 'close')
      socket.end()
      await within(socket, closed).catch(() => {})
      return socket.closed && !socket.errored
    },
    destroy: () => void socket.destroy(),
  }
}

async function within<T>(socket: TLSSocket, work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => {
    const error = new Error('The receiver takes nothing')
    socket.destroy(error)
    reject(error)
  }, timeoutMs)
  try {
    return await Promise.race([work, promise])
  } finally {
    clearTimeout(timer)
  }
}
