import { Readable } from 'node:stream'

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

/**
 * As much of aedes-persistence as Aedes calls for clean sessions below QoS 2; anything else it asks for is missing and ends the
 * connection that asked. Its own in-memory one keeps a list for every device that ever acknowledged a message.
 */
export const noPersistence = {
  // Aedes wants to see that it is an async function.
  setup: async (): Promise<void> => {},
  storeRetained: () => Promise.reject(new Error('nothing is retained')),
  cleanSubscriptions: () => done,
  subscriptionsByTopic: () => Promise.resolve([]),
  outgoingEnqueueCombi: () => done,
  outgoingClearMessageId: () => done,
  outgoingStream: () => Readable.from([]),
  cleanIncoming: () => done,
  delWill: () => done,
  streamWill: () => Readable.from([]),
  // Piped into what sends retained messages.
  createRetainedStreamCombi: () => ({ pipe: () => {} }),
}
