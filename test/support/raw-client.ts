import { get } from 'node:http'
import { connect, type TLSSocket } from 'node:tls'

import { expect } from 'vitest'

import { generatePrivateKey } from '../../pki/keys.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { challengePassword, csrWithAttributes } from './csr-attributes.ts'
import { base64Lines, clientPem } from './est-client.ts'
import type { Enrolled, WorldContext } from './identity-world.ts'

type Version = 'TLSv1.2' | 'TLSv1.3'

/** Raw connections of devices to a world's listeners, for what an HTTP client hides. */
export function rawClient(ctx: WorldContext, port: number) {
  /** A connection that was let in and stays open, and a session to resume it with. */
  async function session(device: Enrolled, version: Version) {
    const socket = await open(device, { version })
    let ticket: Buffer | undefined = socket.getSession()
    socket.on('session', (fresh: Buffer) => {
      ticket = fresh
    })
    socket.write('GET /nothing-here HTTP/1.1\r\nHost: localhost\r\n\r\n')
    const [head] = await new Promise<Buffer[]>((resolve) =>
      socket.once('data', (data: Buffer) => resolve([data])),
    )
    expect(head?.toString('latin1')).toMatch(/^HTTP\/1\.1 404/)
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
    return {
      socket,
      closed,
      get session() {
        return ticket
      },
    }
  }

  async function open(
    device: Enrolled,
    { version, session: resume }: { version: Version; session?: Buffer | undefined },
  ): Promise<TLSSocket> {
    const socket = connect({
      host: 'localhost',
      servername: 'localhost',
      port: port,
      ca: ctx.authorities.rootPem,
      minVersion: version,
      maxVersion: version,
      ...(resume ? { session: resume } : {}),
      ...clientPem(ctx, device),
    })
    socket.on('error', () => {})
    await new Promise<void>((resolve) => socket.once('secureConnect', () => resolve()))
    return socket
  }

  /** Renews over connections whose binding goes, changed or not, into the request: a full handshake, and for 1.2 a resumed one. */
  async function linked(
    device: Enrolled,
    version: Version,
    change: (binding: Buffer) => Buffer,
  ): Promise<number[]> {
    const statuses: number[] = []
    let resume: Buffer | undefined
    for (let n = 0; n < (version === 'TLSv1.2' ? 2 : 1); n++) {
      const socket = await open(device, { version, session: resume })
      expect(socket.isSessionReused()).toBe(n > 0)
      resume = socket.getSession()
      const binding =
        version === 'TLSv1.3'
          ? socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0))
          : ((n > 0 ? socket.getPeerFinished() : socket.getFinished()) ?? Buffer.alloc(0))
      const body = base64Lines(csrWithChallenge(device, change(binding).toString('base64')))
      socket.write(
        `POST /.well-known/est/simplereenroll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
      )
      const answer = await new Promise<Buffer>((resolve) => socket.once('data', resolve))
      statuses.push(Number(/^HTTP\/1\.1 (\d+)/.exec(answer.toString('latin1'))?.[1]))
      socket.destroy()
    }
    return statuses
  }

  return { session, linked }
}

/** Plain requests to the public listener. */
export function publicClient(port: number) {
  async function fetchPublic(path: string): Promise<Buffer> {
    return await new Promise((resolve, reject) => {
      get({ host: '127.0.0.1', port: port, path }, (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.once('end', () => resolve(Buffer.concat(chunks)))
      }).once('error', reject)
    })
  }

  async function statusPublic(path: string, method = 'GET'): Promise<number | undefined> {
    return await new Promise((resolve, reject) => {
      const request = get({ host: '127.0.0.1', port: port, path, method }, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
      request.once('error', reject)
    })
  }

  return { fetchPublic, statusPublic }
}

function csrWithChallenge(device: Enrolled, challenge: string): Buffer {
  const { subject } = parseCertificate(device.der)
  const names = { subject, uris: [`urn:uuid:${device.deviceId}`] }
  return csrWithAttributes(generatePrivateKey('P-256'), names, [challengePassword(challenge)])
}
