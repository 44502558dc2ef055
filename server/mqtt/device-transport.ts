import { setImmediate as nextTurn } from 'node:timers/promises'

import { DomainError } from '../errors.ts'
import { type ServerLeaf, topicOf } from '../protocol/topics.ts'
import type { Limits } from './limits.ts'
import { partWith } from './part.ts'
import { PublishFrame, publishHead } from './publish-frame.ts'
import { Refused } from './refusal.ts'
import type { Session, Sessions } from './session.ts'
import type { DeviceTransport, Sent } from './transport.ts'

const perTurn = 200

/**
 * Speaks to the devices of this process, straight to their sockets: Aedes would build and encode a packet of its own for each
 * (broker.md §3.6). `sent` means handed to the socket: what a device must not miss is told again, because messages are hints
 * (architecture.md §1). A device that does not read gets nothing more (`offline`) and is ended by Aedes' drain
 * timeout; the sender never waits for it.
 */
export function createTransport(sessions: Sessions, limits: Limits): DeviceTransport {
  const encode = (leaf: ServerLeaf, body: unknown): PublishFrame => {
    const payload = Buffer.from(JSON.stringify(body))
    if (payload.length > limits.backlogBytes) {
      throw new DomainError(
        'too-large',
        'A message to a device is larger than its backlog may be',
        { leaf },
      )
    }
    return new PublishFrame(leaf, payload)
  }
  const write = (deviceId: string, leaf: ServerLeaf, frame: PublishFrame): Sent => {
    const session = sessions.get(deviceId)
    if (!session) return 'offline'
    const qos = session.granted[leaf]
    if (qos === undefined) return 'unsubscribed'
    if (!hasRoom(session, frame.length, limits)) return 'offline'
    const isTaken = session.socket.write(frame.to(deviceId, qos, qos && nextPacketId(session)))
    if (!isTaken) awaitDrain(session)
    return 'sent'
  }
  return {
    send: async (deviceId, leaf, body) => write(deviceId, leaf, encode(leaf, body)),
    sendToMany: async (deviceIds, leaf, body) => {
      const frame = encode(leaf, body)
      const sent: Sent[] = []
      for (const deviceId of deviceIds) {
        sent.push(write(deviceId, leaf, frame))
        // Others have their turn: 5,000 devices are a tenth of a second.
        if (sent.length % perTurn === 0) await nextTurn()
      }
      return sent
    },
    sendBytes: async (deviceId, leaf, payload) => {
      const session = sessions.get(deviceId)
      if (!session) return 'offline'
      const topic = topicOf(deviceId, leaf)
      if (session.granted[leaf] === undefined) return 'unsubscribed'
      if (!hasRoom(session, payload.length, limits)) return 'offline'
      return (await isTaken(session, topic, payload, { limits, sessions })) ? 'sent' : 'offline'
    },
    disconnect: (deviceId) => {
      const session = sessions.get(deviceId)
      if (session) partWith(session.socket)
      return session ? 1 : 0
    },
    isConnected: (deviceId) => sessions.get(deviceId) !== undefined,
    sessionOf: (deviceId) => sessions.get(deviceId)?.epoch,
    connectedDevices: () => sessions.connectedDevices(),
    get size() {
      return sessions.size
    },
  }
}

function hasRoom({ socket }: Session, bytes: number, { backlogBytes }: Limits): boolean {
  return socket.writable && socket.writableLength + bytes <= backlogBytes
}

/** The identifiers of all messages to a device are given here (MQTT 3.1.1 §2.3.1: not zero). Nothing is sent again, so none is kept. */
function nextPacketId(session: Session): number {
  session.packetId = (session.packetId % 65_535) + 1
  return session.packetId
}

/** Ends the connection when the socket is not empty in `drainMs`; one timer for each, whoever asks. A private member of Aedes. */
function awaitDrain({ client }: Session): void {
  ;(client as unknown as { waitForDrain: (then: () => void) => void }).waitForDrain(() => {})
}

/** Writes, and tells whether the socket took it in time; who does not read is cut off. */
async function isTaken(
  session: Session,
  topic: string,
  payload: Buffer,
  { limits, sessions }: { limits: Limits; sessions: Sessions },
): Promise<boolean> {
  const { socket } = session
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const timer = setTimeout(() => {
    sessions.refuse(session, new Refused('slow-consumer', { bytes: socket.writableLength }))
    socket.destroy()
  }, limits.drainMs)
  socket.cork()
  socket.write(publishHead(topic, 0, payload.length))
  // Called when the last byte has left, or with an error, also when the socket is destroyed meanwhile.
  socket.write(payload, (error) => resolve(!error))
  socket.uncork()
  try {
    return await promise
  } finally {
    clearTimeout(timer)
  }
}
