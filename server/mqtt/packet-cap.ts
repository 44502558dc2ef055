import { asRefused } from './hook.ts'
import type { Limits } from './limits.ts'
import { Refused } from './refusal.ts'
import type { Session } from './session.ts'

/** What we use of mqtt-packet's parser inside Aedes. Private members: the exact version is pinned, test/e2e/broker-bounds holds them. */
interface Parser {
  parse: (chunk: Buffer) => number
  /** The packet being read; its length is -1 until its header is complete. */
  packet: { length: number }
  listeners: (event: 'packet') => ((packet: Packet) => void)[]
  removeAllListeners: (event: 'packet') => void
  on: (event: 'packet', listener: (packet: Packet) => void) => void
  prependListener: (event: 'error', listener: (error: Error) => void) => void
}

interface Packet {
  cmd: string
  length: number
  subscriptions?: { topic: string; qos: number }[]
  unsubscriptions?: string[]
}

interface Inner {
  _parser: Parser
  connackSent: boolean
  _keepaliveTimer: NodeJS.Timeout | null
}

/** Of a device that speaks MQTT 3.1.1 without QoS 2. */
const allowedPackets = new Set([
  'connect',
  'publish',
  'puback',
  'subscribe',
  'unsubscribe',
  'pingreq',
  'disconnect',
])

/**
 * Puts bounds around Aedes' parser, which has none (broker.md §1.2): the declared length of a packet before its body is
 * collected, the kinds and the rate of packets, the filters in one packet. Call it directly after
 * `broker.handle(socket)`. Whatever is past a bound ends the connection by an `error` on the client.
 *
 * @param refuse decides and records why the session ends
 */
export function guardParser(
  session: Session,
  limits: Limits,
  refuse: (refused: Refused) => Refused,
): void {
  const { client } = session
  const inner = client as unknown as Inner
  const parser = inner._parser
  const end = (refused: Refused) => void client.emit('error', refuse(refused))
  const cap = () => (inner.connackSent ? limits.packetBytes : limits.connectBytes)

  const parse = parser.parse.bind(parser)
  parser.parse = (chunk) => {
    try {
      const left = parse(chunk)
      if (!client.closed && parser.packet.length > cap()) {
        end(new Refused('packet-too-large', { bytes: parser.packet.length }))
      }
      return left
    } catch (error) {
      end(asRefused(error))
      return 0
    }
  }

  const deliver = parser.listeners('packet')
  parser.removeAllListeners('packet')
  parser.on('packet', (packet) => {
    const refused = inspect(packet, session, limits, cap())
    if (refused) return end(refused)
    // What was sent is kept nowhere, so there is nothing to let go of; it only shows that the device is alive.
    if (packet.cmd === 'puback' && inner.connackSent) return void inner._keepaliveTimer?.refresh()
    // By itself Aedes destroys the socket and learns of that as of an error.
    if (packet.cmd === 'disconnect' && inner.connackSent) return client.close()
    for (const listener of deliver) listener.call(parser, packet)
  })
  // Before Aedes' own listener, which closes the connection without saying why.
  parser.prependListener('error', (error) => {
    refuse(new Refused('malformed-packet', { problem: error.message.slice(0, 100) }))
  })
}

function inspect(
  packet: Packet,
  session: Session,
  limits: Limits,
  cap: number,
): Refused | undefined {
  // A packet that arrives in one read is complete before its length could be looked at.
  if (packet.length > cap) return new Refused('packet-too-large', { bytes: packet.length })
  if (!allowedPackets.has(packet.cmd)) return new Refused('protocol-error', { packet: packet.cmd })
  if (!session.bucket.take()) return new Refused('rate-exceeded')
  const filters = packet.subscriptions?.length ?? packet.unsubscriptions?.length ?? 0
  if (filters > limits.filters) return new Refused('too-many-filters', { filters })
  // Granted is what is asked here, and we never send QoS 2.
  for (const subscription of packet.subscriptions ?? []) {
    subscription.qos = Math.min(subscription.qos, 1)
  }
  return undefined
}
