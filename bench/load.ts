import { once } from 'node:events'
import { connect, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls'

export interface Client {
  deviceId: string
  /** Made once: parsing keys is the load's cost, not the server's. */
  context: SecureContext
}

export function clientOf(deviceId: string, key: string, cert: string, ca: string): Client {
  return { deviceId, context: createSecureContext({ key, cert, ca, minVersion: 'TLSv1.3' }) }
}

const disconnect = Buffer.from([0xe0, 0])

/** An MQTT 3.1.1 CONNECT: clean session, keepalive 60 s. */
function connectPacket(clientId: string): Buffer {
  const id = Buffer.from(clientId)
  const head = Buffer.from([
    0x10,
    12 + id.length,
    0,
    4,
    0x4d,
    0x51,
    0x54,
    0x54,
    4,
    2,
    0,
    60,
    0,
    id.length,
  ])
  return Buffer.concat([head, id])
}

/** Full TLS handshake, CONNECT, CONNACK 0. Throws when the server answers anything else. */
export async function open(port: number, { deviceId, context }: Client): Promise<TLSSocket> {
  const socket = connect({
    port,
    host: '127.0.0.1',
    servername: 'localhost',
    secureContext: context,
  })
  socket.on('error', () => {})
  await once(socket, 'secureConnect')
  socket.write(connectPacket(deviceId))
  const [answer] = (await once(socket, 'data')) as [Buffer]
  if (answer[0] !== 0x20 || answer[3] !== 0) throw new Error(`CONNACK ${answer.toString('hex')}`)
  return socket
}

/** Connects and leaves `count` times, `parallel` at a time. */
export async function connects(
  port: number,
  clients: readonly Client[],
  { count, parallel }: { count: number; parallel: number },
): Promise<void> {
  let left = count
  const work = async (lane: number) => {
    // Each lane has devices of its own: two connections of one device would end one another.
    const own = clients.filter((_, index) => index % parallel === lane)
    for (let turn = 0; left-- > 0; turn++) {
      const client = own[turn % own.length]
      if (!client) throw new Error('Fewer clients than lanes')
      const socket = await open(port, client)
      // Not `once`: a server that closes first makes it an error, which ends the connection all the same.
      const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
      socket.end(disconnect)
      await closed
    }
  }
  await Promise.all(Array.from({ length: parallel }, (_, lane) => work(lane)))
}
