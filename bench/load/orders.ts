import type { Latencies } from './latencies.ts'

/* What a load process is told and what it answers: plain data, over IPC. Times of day are milliseconds since 1970, with fractions. */

/** As `createBrokerPki().device()` and `enrollDevices` give it. */
export interface Credential {
  deviceId: string
  key: string
  /** Leaf and issuer, PEM. */
  cert: string
}

/** The devices of this load, by number from 0; more may be added. Several may share a certificate, where the server allows it. */
export interface Use {
  credentials: readonly Credential[]
  /** PEM. */
  ca: string
}

export interface Where {
  port: number
  /** How the key is agreed on; all targets of one row use the same. X25519 when absent: the peers know no other in common. */
  group?: 'X25519' | 'X25519MLKEM768'
  /** The first device, by number; 0 when absent. */
  first?: number
}

/** Connects and leaves again, so many times. Each lane takes its own devices in turn. */
export interface Churn extends Where {
  devices: number
  connects: number
  parallel: number
  /** With the ticket of the device's last connection, if there is one. */
  resume?: boolean
}
export interface Churned {
  connected: number
  /** Connections that were let in without a full handshake. */
  resumed: number
  /** By what the server said or did. */
  refused: Record<string, number>
  /** From opening the TCP connection to CONNACK 0. */
  latencies: Latencies
}

/** Connects and stays. */
export interface Hold extends Where {
  devices: number
  parallel: number
  /** How far: a TLS connection that says nothing, one with `bytes` written to it, or one with CONNACK 0 (default). */
  until?: 'tls' | 'connack'
  /** Written after the handshake, base64; only with `until: 'tls'`. */
  bytes?: string
  /** Of the CONNECT; 1,200 when absent, so that nobody pings. */
  keepaliveSeconds?: number
  /** Subscribed to before it counts as connected; `{id}` is the device's id. */
  subscribe?: readonly { filter: string; qos: 0 | 1 }[]
  /** With the ticket of the device's last connection. */
  resume?: boolean
  /** How often a device that was refused tries again, after full jitter of 2 seconds, which double to 30; 0 when absent. */
  retries?: number
}
export type Held = Churned

/** QoS 1 from connections that are held. */
export interface Publish {
  /** Of the held connections, in the order in which they were made; all when absent. */
  first?: number
  connections?: number
  /** `{id}` is the device's id. */
  topic: string
  /** One after the other, and again from the start; `{id}` the device, `{n}` a number that rises, `{uuid}` a fresh one. */
  bodies: readonly string[]
  /** Of each connection. */
  messages: number
  /** Unacknowledged ones of each connection. */
  window: number
  /** Of all connections together: sent when it is time, whether or not the earlier ones were answered; latency counts from then. */
  perSecond?: number
  /** What is not acknowledged by then has failed. */
  timeoutMs?: number
}
export interface Published {
  acknowledged: number
  failed: number
  /** From sending (or from when it should have been sent) to PUBACK. */
  latencies: Latencies
  /** From the first one sent to the last acknowledged. */
  ms: number
}

/** Until the held connections have received so many messages since the last `forget`. */
export interface Arrive {
  messages: number
  timeoutMs: number
}
export interface Arrived {
  received: number
  firstAt: number
  lastAt: number
  /** When each came, for at most 100,000. */
  at: number[]
}

/** Until so many of the held connections were closed by the server since the last `forget`. */
export interface Closes {
  connections: number
  timeoutMs: number
}
export interface Closed {
  closed: number
  lastAt: number
  /** When each was, by number of the device. */
  at: Record<number, number>
}

export interface Some {
  first?: number
  connections: number
}

export interface State {
  held: number
  received: number
  closed: number
}

/** Every order with what it answers. */
export interface Orders {
  use: [Use, { devices: number }]
  churn: [Churn, Churned]
  hold: [Hold, Held]
  publish: [Publish, Published]
  arrive: [Arrive, Arrived]
  closes: [Closes, Closed]
  /** Forgets what was received and closed so far. */
  forget: [object, State]
  /** These held connections read nothing more; `thaw` lets them. */
  freeze: [Some, State]
  thaw: [Some, State]
  /** Ends the held connections, by DISCONNECT. */
  release: [object, State]
  state: [object, State]
}
export type OrderName = keyof Orders

export interface Message {
  id: number
  name: OrderName
  order: unknown
}
export type Answer = { id: number; result: unknown } | { id: number; error: string }
