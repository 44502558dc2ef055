import { connect, type MqttClient } from 'mqtt'

import { type DeviceLeaf, parseTopic, serverLeaves, topicOf } from '../server/protocol/topics.ts'
import { backOffMs } from './back-off.ts'
import { messageOf } from './errors.ts'
import type { Identity } from './identity.ts'
import { presenting } from './tls.ts'
import type { Log } from './update/device.ts'

export interface ConnectionDeps {
  host: string
  port: number
  /** Read anew for each try, so that a renewed certificate is used. */
  identity: () => Omit<Identity, 'leaf'>
  reconnectMaxMs: number
  log: Log
  /** Connected and subscribed. */
  onConnect: () => void
  onDisconnect: () => void
  onMessage: (leaf: string, payload: Buffer) => void
}

/** A connection that lived this long was a good one: the next try comes soon. */
const stableMs = 10_000
const connectTimeoutMs = 15_000
const acknowledgeTimeoutMs = 30_000
const keepaliveSeconds = 60
/** MQTT 3.1.1 §3.2.2.3: the server is there and takes nobody now. */
const unavailable = 3
/** A bundle is at most 64 kB of text, and JSON escapes it. */
const maxPayloadBytes = 262_144
const maxPacketBytes = 524_288

/**
 * The device's one way to the broker: outbound MQTT 3.1.1 over TLS with its certificate, client id the device id, QoS 1,
 * clean session (interfaces.md). It reconnects for as long as it is started, with growing, jittered delays.
 */
export class Connection {
  readonly #deps: ConnectionDeps
  #client: MqttClient | undefined
  #timer: NodeJS.Timeout | undefined
  #isStarted = false
  #isConnected = false
  #failures = 0
  /** Code of the last failure to connect, such as `ECONNREFUSED` or `CONNACK 3`; undefined while connected. */
  lastError: string | undefined

  constructor(deps: ConnectionDeps) {
    this.#deps = deps
  }

  get isConnected(): boolean {
    return this.#isConnected
  }

  start(): void {
    if (this.#isStarted) return
    this.#isStarted = true
    this.#open()
  }

  /** Closes and comes back at once, as after a reboot or with a new certificate. */
  restart(): void {
    if (!this.#isStarted) return
    this.#close()
    this.#failures = 0
    this.#schedule(0)
  }

  stop(): void {
    this.#isStarted = false
    clearTimeout(this.#timer)
    this.#close()
  }

  /** Resolves when the server has acknowledged, which is after it stored the message. Rejects when the connection ends first. */
  async publish(leaf: DeviceLeaf, body: unknown): Promise<void> {
    const client = this.#client
    if (!client || !this.#isConnected) throw new Error('Not connected')
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const onClose = () => reject(new Error('The connection ended'))
    const timer = setTimeout(() => {
      reject(new Error('No acknowledgement'))
      this.#lost(client)
    }, acknowledgeTimeoutMs)
    client.once('close', onClose)
    const topic = topicOf(this.#deps.identity().deviceId, leaf)
    client.publish(topic, JSON.stringify(body), { qos: 1 }, (error) =>
      error ? reject(error) : resolve(),
    )
    try {
      await promise
    } finally {
      clearTimeout(timer)
      client.off('close', onClose)
    }
  }

  /** QoS 0: sent or lost, and nobody says which. */
  ask(leaf: DeviceLeaf, body: unknown): void {
    if (!this.#client || !this.#isConnected) return
    const topic = topicOf(this.#deps.identity().deviceId, leaf)
    this.#client.publish(topic, JSON.stringify(body), { qos: 0 }, () => {})
  }

  #open(): void {
    try {
      this.#dial()
    } catch (error) {
      this.#deps.log('cannot connect', { error: messageOf(error) })
      this.#retry()
    }
  }

  #dial(): void {
    const { host, port, identity } = this.#deps
    const { deviceId, key, certificates, root } = identity()
    const client = connect({
      protocol: 'mqtts',
      host,
      port,
      clientId: deviceId,
      ...presenting({ key, certificates }),
      ca: root,
      rejectUnauthorized: true,
      protocolVersion: 4,
      clean: true,
      keepalive: keepaliveSeconds,
      connectTimeout: connectTimeoutMs,
      // Its own reconnect is fixed in time: a fleet would come back all at once.
      reconnectPeriod: 0,
      resubscribe: false,
    })
    this.#client = client
    this.#limitPackets(client)
    client.on('connect', () => this.#subscribe(client))
    client.on('message', (topic, payload) => this.#receive(topic, payload))
    client.on('close', () => this.#lost(client))
    client.on('error', (error) => {
      if (client !== this.#client) return
      const code = 'code' in error ? error.code : error.message
      this.lastError = typeof code === 'number' ? `CONNACK ${code}` : String(code)
      this.#lost(client, code === unavailable)
    })
  }

  /** The parser collects a packet of any length before it shows it: more than a bundle can be is not waited for. */
  #limitPackets(client: MqttClient): void {
    let waiting = 0
    client.stream.on('data', (piece: Buffer) => {
      waiting += piece.length
      if (waiting <= maxPacketBytes || client !== this.#client) return
      this.#deps.log('packet too long')
      this.#lost(client)
    })
    client.on('packetreceive', () => (waiting = 0))
  }

  #subscribe(client: MqttClient): void {
    const { deviceId } = this.#deps.identity()
    // Chunks that nobody has received are asked for again: no need to keep them anywhere.
    const topics = serverLeaves.map(
      (leaf) => [topicOf(deviceId, leaf), { qos: leaf === 'chunk' ? 0 : 1 }] as const,
    )
    client.subscribe(Object.fromEntries(topics), (error, granted) => {
      if (client !== this.#client) return
      if (error || granted?.some(({ qos }) => qos > 1)) return this.#lost(client)
      this.#isConnected = true
      this.lastError = undefined
      const stable = setTimeout(() => (this.#failures = 0), stableMs)
      client.once('close', () => clearTimeout(stable))
      this.#deps.log('connected', { deviceId })
      this.#deps.onConnect()
    })
  }

  #receive(topic: string, payload: Buffer): void {
    const parsed = parseTopic(topic)
    if (!parsed || parsed.deviceId !== this.#deps.identity().deviceId) return
    if (payload.length > maxPayloadBytes) return this.#deps.log('message too long', { topic })
    this.#deps.onMessage(parsed.leaf, payload)
  }

  #lost(client: MqttClient, isAsked = false): void {
    if (client !== this.#client) return
    this.#close()
    this.#retry(isAsked)
  }

  #retry(isAsked = false): void {
    if (!this.#isStarted) return
    const waitMs = backOffMs(this.#failures, { maxMs: this.#deps.reconnectMaxMs, isAsked })
    this.#failures++
    if (isAsked) this.#deps.log('the server cannot take this device now', { waitMs })
    this.#schedule(waitMs)
  }

  #close(): void {
    const client = this.#client
    this.#client = undefined
    client?.end(true)
    if (!this.#isConnected) return
    this.#isConnected = false
    this.#deps.log('disconnected', { error: this.lastError })
    this.#deps.onDisconnect()
  }

  #schedule(delayMs: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#open(), delayMs)
  }
}
