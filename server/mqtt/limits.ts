/** Everything a device, or somebody who is none, could otherwise have without end. One frozen table; tests pass smaller ones. */
export interface Limits {
  /** From accepting the TCP connection to the end of the TLS handshake. */
  readonly handshakeMs: number
  /** From the handshake to a complete CONNECT. */
  readonly connectMs: number
  /** For each hook; after it the connection is closed, so an outage of the database sheds devices instead of collecting them. */
  readonly hookMs: number
  /** How long a device may leave what was written to it unread, when the backlog limit has not ended it before (updates.md §6). */
  readonly drainMs: number
  readonly maxConnections: number
  /** Devices let in. Fewer, so that one more can still be told to come later, which before TLS nobody can be. */
  readonly maxSessions: number
  /** Declared length of a packet before CONNACK, and after. */
  readonly connectBytes: number
  readonly packetBytes: number
  /** Filters in one SUBSCRIBE or UNSUBSCRIBE, and in force. */
  readonly filters: number
  readonly topicLevels: number
  readonly minKeepaliveSeconds: number
  readonly maxKeepaliveSeconds: number
  /** Packets of any kind from one connection: refilled per second, and at once. */
  readonly packetsPerSecond: number
  readonly packetBurst: number
  /** Messages that wait for their commit: of one device, and of all together. */
  readonly inFlightPerDevice: number
  readonly inFlight: number
  readonly inFlightBytes: number
  /** Bytes that a device does not read: above it the device is cut off. */
  readonly backlogBytes: number
  /** A group is committed when it is this old or this big. */
  readonly groupMs: number
  /** The same where groups have `busyGroup` messages and more. */
  readonly busyGroupMs: number
  readonly busyGroup: number
  readonly groupMessages: number
  readonly groupsAtOnce: number
  /** Effects of committed groups that have not ended: above it no further group is committed. */
  readonly effects: number
  readonly effectMs: number
  /** How long stopping may take: flushing first, then closing. */
  readonly flushMs: number
  readonly closeMs: number
}

export const defaultLimits: Limits = Object.freeze({
  handshakeMs: 10_000,
  connectMs: 10_000,
  hookMs: 5_000,
  drainMs: 30_000,
  maxConnections: 20_000,
  maxSessions: 18_000,
  connectBytes: 4_096,
  packetBytes: 65_536,
  filters: 8,
  topicLevels: 6,
  minKeepaliveSeconds: 1,
  maxKeepaliveSeconds: 1_200,
  packetsPerSecond: 20,
  packetBurst: 100,
  inFlightPerDevice: 64,
  inFlight: 4_096,
  inFlightBytes: 33_554_432,
  backlogBytes: 262_144,
  groupMs: 2,
  busyGroupMs: 15,
  busyGroup: 8,
  groupMessages: 500,
  groupsAtOnce: 2,
  effects: 16,
  effectMs: 60_000,
  flushMs: 5_000,
  closeMs: 2_000,
})
