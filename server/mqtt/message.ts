import { isUtf8 } from 'node:buffer'
import type { KeyObject } from 'node:crypto'

import type { z } from 'zod'

import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import type { DeviceLeaf } from '../protocol/topics.ts'

export interface DeviceMessage<B> {
  deviceId: string
  body: B
  /** The epoch of the connection that it came on (presence.ts): what answers it belongs there and to no later one. */
  session?: number
}

/** Who sends a message, as the handshake of its connection proved. */
export interface Peer {
  deviceId: string
  /** SHA-256 of the certificate, lower hex. */
  fingerprint: string
  /** Of the certificate. */
  key: () => KeyObject | undefined
}

interface MessageSpec<B> {
  leaf: DeviceLeaf
  /** Of the payload, refused before it is parsed. */
  maxBytes: number
  body: z.ZodType<B>
  /**
   * What takes long and needs no database, such as a signature: done before the message joins a group, so that no transaction
   * waits for it. The device's later messages wait. Undefined when there is nothing to do. Must not reject for what a device says.
   */
  prepare?: (body: B, peer: Peer) => Promise<B> | undefined
  /**
   * Stores a group of messages, in order, in the group's one transaction; the devices are acknowledged after its commit.
   * Set-based: the number of statements does not depend on the number of messages. It may run again when the
   * database asks for a retry, and a message may come again (QoS 1), so it must be idempotent. What a message
   * that is refused in its *content* needs (a security event, an audit row) is written here too; it is acknowledged all
   * the same, so that the device does not send it for ever. Throws only when nothing could be stored.
   * Returns what to do after the commit, or nothing.
   */
  store: (input: {
    tx: Tx
    ctx: Pick<Context, 'clock' | 'config' | 'log' | 'metrics'>
    now: Date
    messages: readonly DeviceMessage<B>[]
  }) => Promise<AfterCommit | void>
}

/** Runs after the commit, beside the acknowledgement; it may be lost in a crash, so it only speeds up what a sweep does too. */
export type AfterCommit = (ctx: Context) => Promise<void>

/**
 * A leaf whose messages are not stored: each is a question at QoS 0 that is answered, if at all, by messages of its own. Nothing
 * of it passes the group commit.
 */
export interface DirectHandler {
  leaf: DeviceLeaf
  /** Returns at once. False when the payload is not valid: the connection is then closed. It bounds what it begins. */
  take: (deviceId: string, payload: Buffer) => boolean
}

/** A message type with its body's type erased, so that the broker can hold a list of them. */
export interface MessageHandler {
  leaf: DeviceLeaf
  maxBytes: number
  /** The parsed body, or undefined when the payload is not valid: the connection is then closed. */
  parse: (payload: Buffer) => { body: unknown } | undefined
  prepare?: (body: unknown, peer: Peer) => Promise<unknown> | undefined
  store: MessageSpec<unknown>['store']
}

export function message<B>(spec: MessageSpec<B>): MessageHandler {
  const { prepare } = spec
  return {
    leaf: spec.leaf,
    maxBytes: spec.maxBytes,
    parse: (payload) => {
      if (payload.length > spec.maxBytes || !isUtf8(payload)) return undefined
      const parsed = spec.body.safeParse(parseJson(payload))
      return parsed.success ? { body: parsed.data } : undefined
    },
    ...(prepare && { prepare: (body, peer) => prepare(body as B, peer) }),
    // The broker passes back only what this handler's own `parse` returned.
    store: (input) => spec.store({ ...input, messages: input.messages as DeviceMessage<B>[] }),
  }
}

function parseJson(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString('utf8'))
  } catch {
    return undefined
  }
}
