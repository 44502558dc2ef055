import { Readable } from 'node:stream'

import type { Client } from 'aedes'

/*
 * What Aedes is given in place of its own memory and its own routing. Devices have clean sessions, nothing is retained, wills are
 * dropped, QoS 2 is refused, what a device publishes is for the server alone and is stored before it is acknowledged, and
 * what the server says goes straight to the socket of the one device it is for (device-transport.ts). So there is nothing to
 * keep, and nobody to route to: no topic of one device can reach another, whatever its filters are.
 */

const done = Promise.resolve()

/** As much of Aedes' emitter as it calls; `on` and `removeListener` may come without a callback. */
export const noRouting = {
  on: (_topic: string, _listener: unknown, then?: () => void): void => then?.(),
  removeListener: (_topic: string, _listener: unknown, then?: () => void): void => then?.(),
  emit: (_packet: unknown, then?: () => void): void => then?.(),
  close: (then?: () => void): void => then?.(),
}

/** What `accept` needs of a client of Aedes beside its types. Private members: the exact version is pinned. */
interface Inner {
  connecting: boolean
  connected: boolean
  connackSent: boolean
  resume: () => void
  emit: (event: 'connected') => boolean
}

const connack = Buffer.from([0x20, 2, 0, 0])

/**
 * Ends a CONNECT that Aedes has checked and registered: CONNACK 0 (MQTT 3.1.1 §3.2), `ready`, then what arrived meanwhile. Aedes'
 * own last steps send what was stored for a session; for one that is always clean that is nothing, and takes a tenth
 * of the connect (docs/performance.md).
 */
function accept(client: Client, ready: (client: Client) => void): void {
  const inner = client as unknown as Inner
  client.conn.write(connack)
  inner.connackSent = true
  inner.connecting = false
  inner.connected = true
  ready(client)
  // Reads on only when nothing waits, so that nothing overtakes what came together with CONNECT.
  inner.resume()
  inner.emit('connected')
}

/**
 * As much of aedes-persistence as Aedes calls for clean sessions below QoS 2; anything else it asks for is missing and ends the
 * connection that asked. Its own in-memory one keeps a list for every device that ever acknowledged a message.
 *
 * @param ready called when CONNACK 0 went out
 */
export const noPersistence = (ready: (client: Client) => void) => ({
  // Aedes wants to see that it is an async function.
  setup: async (): Promise<void> => {},
  storeRetained: () => Promise.reject(new Error('nothing is retained')),
  cleanSubscriptions: () => done,
  subscriptionsByTopic: () => Promise.resolve([]),
  outgoingEnqueueCombi: () => done,
  outgoingClearMessageId: () => done,
  outgoingStream: () => Readable.from([]),
  // Asked for by a client that closes, and as the last step before CONNACK by one that connects: Aedes goes no further then.
  cleanIncoming: (client: Client) => {
    if (!(client as unknown as Inner).connecting) return done
    accept(client, ready)
    // A new one each time: what waits for one that all share would be kept for ever.
    return new Promise<void>(() => {})
  },
  delWill: () => done,
  streamWill: () => Readable.from([]),
  // Piped into what sends retained messages.
  createRetainedStreamCombi: () => ({ pipe: () => {} }),
})
