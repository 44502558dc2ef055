import type { ServerLeaf } from '../protocol/topics.ts'

export type Sent = 'sent' | 'offline' | 'unsubscribed'

/**
 * The seam between what the server wants to say to a device and the broker that says it (architecture.md §9): another
 * broker is a second implementation of this.
 */
export interface DeviceTransport {
  /**
   * Publishes QoS 1 to one device. `offline` when it is not connected to this process or its buffer is full; `unsubscribed`
   * when it did not ask for this topic, and so must not be sent it (MQTT 3.1.1 §3.3.5).
   */
  send: (deviceId: string, leaf: ServerLeaf, body: unknown) => Promise<Sent>
  /** The same to many devices, encoded once; what became of each, in their order. */
  sendToMany: (deviceIds: readonly string[], leaf: ServerLeaf, body: unknown) => Promise<Sent[]>
  /**
   * Publishes bytes at QoS 0, and waits until the socket has taken all that was written to it: `payload` may be used again then.
   * `offline` also when the connection ends meanwhile or takes longer than a device may.
   */
  sendBytes: (deviceId: string, leaf: ServerLeaf, payload: Buffer) => Promise<Sent>
  /** Ends the device's connections in this process. Returns how many were closed. */
  disconnect: (deviceId: string) => number
  isConnected: (deviceId: string) => boolean
  /** The epoch of the device's connection to this process, which no other of its connections has. */
  sessionOf: (deviceId: string) => number | undefined
  connectedDevices: () => string[]
  readonly size: number
}

/** Before the broker listens, and in tests without one: nobody is connected. */
export const noTransport: DeviceTransport = {
  send: async () => 'offline',
  sendToMany: async (deviceIds) => deviceIds.map(() => 'offline'),
  sendBytes: async () => 'offline',
  disconnect: () => 0,
  isConnected: () => false,
  sessionOf: () => undefined,
  connectedDevices: () => [],
  size: 0,
}
