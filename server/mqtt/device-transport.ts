import { DomainError } from '../errors.ts'
import { topicOf } from '../protocol/topics.ts'
import type { Limits } from './limits.ts'
import { Refused } from './refusal.ts'
import type { Session, Sessions } from './session.ts'
import type { DeviceTransport } from './transport.ts'

/**
 * Speaks to the devices of this process. `sent` means handed to the socket: what a device must not miss is told again,
 * because messages are hints (architecture.md §1). A device that does not read gets nothing more (`offline`) and is ended
 * by Aedes' drain timeout; the sender never waits for it.
 */
export function createTransport(sessions: Sessions, limits: Limits): DeviceTransport {
  return {
    send: async (deviceId, leaf, body) => {
      const session = sessions.get(deviceId)
      if (!session) return 'offline'
      const topic = topicOf(deviceId, leaf)
      const qos = grantedQos(session.filters, topic)
      if (qos === undefined) return 'unsubscribed'
      const payload = Buffer.from(JSON.stringify(body))
      if (payload.length > limits.backlogBytes) {
        throw new DomainError(
          'too-large',
          'A message to a device is larger than its backlog may be',
          { leaf },
        )
      }
      const backlog = Math.max(session.socket.writableLength, session.unwritten)
      if (backlog + payload.length > limits.backlogBytes) return 'offline'
      session.unwritten += payload.length
      const packet = { cmd: 'publish', topic, payload, qos, retain: false, dup: false } as const
      // Straight to its one socket: matching topics would find the same, and cost more (broker.md §3.6).
      session.client.publish(packet, () => {
        session.unwritten -= payload.length
      })
      return 'sent'
    },
    sendBytes: async (deviceId, leaf, payload) => {
      const session = sessions.get(deviceId)
      if (!session) return 'offline'
      const topic = topicOf(deviceId, leaf)
      if (grantedQos(session.filters, topic) === undefined) return 'unsubscribed'
      const backlog = Math.max(session.socket.writableLength, session.unwritten)
      if (backlog + payload.length > limits.backlogBytes) return 'offline'
      const packet = { cmd: 'publish', topic, payload, qos: 0, retain: false, dup: false } as const
      session.client.publish(packet, () => {})
      return (await isTaken(session, limits.drainMs, sessions)) ? 'sent' : 'offline'
    },
    disconnect: (deviceId) => {
      const session = sessions.get(deviceId)
      session?.socket.destroy()
      return session ? 1 : 0
    },
    isConnected: (deviceId) => sessions.get(deviceId) !== undefined,
    connectedDevices: () => sessions.connectedDevices(),
    get size() {
      return sessions.size
    },
  }
}

/** Whether the socket took all that was written to it so far, in time; who does not read is cut off. */
async function isTaken(session: Session, withinMs: number, sessions: Sessions): Promise<boolean> {
  const { socket } = session
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const timer = setTimeout(() => {
    sessions.refuse(session, new Refused('slow-consumer', { bytes: socket.writableLength }))
    socket.destroy()
  }, withinMs)
  // Writes end in order, each by its callback, also when the socket is destroyed: nothing tells the end of another's write.
  socket.write(Buffer.alloc(0), (error) => resolve(!error))
  try {
    return await promise
  } finally {
    clearTimeout(timer)
  }
}

/**
 * The QoS at which a topic may be sent: the highest that was granted to a filter that covers it (MQTT 3.1.1 §3.3.5), among those
 * that policy.ts lets through. Undefined when none does.
 */
function grantedQos(filters: ReadonlyMap<string, 0 | 1>, topic: string): 0 | 1 | undefined {
  const folder = topic.slice(0, topic.lastIndexOf('/'))
  let granted: 0 | 1 | undefined
  for (const filter of [topic, `${folder}/#`, `${folder}/+`]) {
    const qos = filters.get(filter)
    if (qos !== undefined) granted = qos === 1 ? 1 : (granted ?? 0)
  }
  return granted
}
