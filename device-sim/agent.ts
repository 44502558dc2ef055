import { EventEmitter } from 'node:events'

import { Command, Hello } from '../server/protocol/messages.ts'
import type { Behavior } from './behavior.ts'
import { ChunkPort } from './chunk-port.ts'
import { type DeviceClock, systemClock } from './clock.ts'
import { type DeviceConfig, loadConfig } from './config.ts'
import { Connection } from './connection.ts'
import { FileDisk } from './disk.ts'
import { DeviceError, messageOf } from './errors.ts'
import { Greeter } from './greeter.ts'
import { findIdentity, type Identity } from './identity.ts'
import { readChoices, removeChoice } from './inbox.ts'
import { lockDirectory } from './lock.ts'
import { Renewer } from './renewal.ts'
import { withProof } from './report-proof.ts'
import { Sender } from './sender.ts'
import { type DeviceStatus, statusOf } from './status.ts'
import type { Log } from './update/device.ts'
import { fetchImage } from './update/image.ts'
import { currentSettings } from './update/settings.ts'
import { Updater, type UpdaterEvents } from './update/updater.ts'

export interface AgentOptions {
  /** The state directory of an enrolled device. */
  dir: string
  log?: Log
  behavior?: Behavior
  clock?: DeviceClock
}

export interface AgentEvents extends Omit<UpdaterEvents, 'queue' | 'ended'> {
  connected: []
  disconnected: []
  /** Has another certificate, and connects with it. */
  renewed: []
  /** What the server is told and has acknowledged. */
  sent: [{ leaf: string; body: unknown }]
}

const agentName = 'fleetseal-device-sim/0.1.0'
const inboxMs = 1_000
const maxCommands = 16

interface Parts {
  config: DeviceConfig
  disk: FileDisk
  updater: Updater
  connection: Connection
  chunks: ChunkPort
  greeter: Greeter
  sender: Sender
  renewer: Renewer
  lock: AsyncDisposable
}

/**
 * One device: connects, asks, verifies, installs, proves itself and reports, until it is stopped. Everything it must not
 * forget is in its directory, so it may be killed at any time. It opens no port. Many may run in one process.
 */
export class DeviceAgent extends EventEmitter<AgentEvents> {
  readonly #options: AgentOptions
  readonly #log: Log
  readonly #clock: DeviceClock
  #identity: Identity | undefined
  #parts: Parts | undefined
  #timers: NodeJS.Timeout[] = []
  #isReadingInbox = false
  #commands = 0

  constructor(options: AgentOptions) {
    super()
    this.#options = options
    this.#log = options.log ?? (() => {})
    this.#clock = options.clock ?? systemClock
  }

  /** Powers the device up. Throws DeviceError when it is not enrolled, damaged or running already. */
  async start(): Promise<void> {
    if (this.#parts) return
    const { dir } = this.#options
    const disk = await FileDisk.existing(dir)
    const lock = await lockDirectory(dir)
    try {
      const config = await loadConfig(disk)
      this.#identity = await findIdentity(disk)
      if (!this.#identity) {
        throw new DeviceError(
          'not-enrolled',
          'This device has no certificate',
          'Run: npm run device -- enroll',
        )
      }
      this.#parts = await this.#build(config, disk, lock)
    } catch (error) {
      await lock[Symbol.asyncDispose]()
      throw error
    }
    const { updater, connection, renewer } = this.#parts
    await this.#readInbox()
    this.#guard('start', updater.run())
    connection.start()
    this.#timers = [setInterval(() => this.#guard('choices', this.#readInbox()), inboxMs)]
    this.#guard('renewal', renewer.start())
  }

  /** Powers it down; safe to call twice. */
  async stop(): Promise<void> {
    const parts = this.#parts
    if (!parts) return
    this.#parts = undefined
    for (const timer of this.#timers) clearInterval(timer)
    parts.greeter.stop()
    parts.connection.stop()
    await parts.updater.stop()
    await parts.renewer.stop()
    await parts.lock[Symbol.asyncDispose]()
  }

  /** Throws DeviceError before `start`. */
  get deviceId(): string {
    if (!this.#identity)
      throw new DeviceError('not-enrolled', 'The agent was not started', 'Start it')
    return this.#identity.deviceId
  }

  /** What runs, what is offered and how the device stands with the server; undefined when it is not running. */
  status(): DeviceStatus | undefined {
    const parts = this.#parts
    if (!parts) return undefined
    return statusOf(parts.updater.device, { connected: parts.connection.isConnected })
  }

  /** What holds now: the fleet's settings, and over them the device's own. Empty while it is not running. */
  async settings(): Promise<Record<string, unknown>> {
    return this.#parts ? await currentSettings(this.#parts.updater.device) : {}
  }

  async #build(config: DeviceConfig, disk: FileDisk, lock: AsyncDisposable): Promise<Parts> {
    const { behavior } = this.#options
    const updater = await Updater.open({
      disk,
      config,
      deviceId: this.deviceId,
      behavior,
      clock: this.#clock,
      log: this.#log,
      isConnected: () => connection.isConnected,
      isServerDown: () => connection.lastError === 'ECONNREFUSED',
      fetch: (input) =>
        fetchImage({
          ...input,
          disk,
          mirrors: config.mirrors,
          redirectHosts: config.redirectHosts,
          server: () => ({
            ...this.#credentials(),
            host: config.serverHost,
            port: config.devicePort,
          }),
          rules: { ...config, bytesPerSecond: behavior?.bytesPerSecond },
          link: chunks,
        }),
    })
    const connection = new Connection({
      host: config.serverHost,
      port: config.mqttPort,
      identity: () => this.#credentials(),
      reconnectMaxMs: config.reconnectMaxMs,
      log: this.#log,
      onConnect: () => {
        this.emit('connected')
        greeter.start()
        this.#guard('update', updater.run())
      },
      onDisconnect: () => {
        greeter.stop()
        sender.close()
        chunks.lost()
        this.emit('disconnected')
      },
      onMessage: (leaf, payload) => this.#receive(leaf, payload),
    })
    const chunks = new ChunkPort(connection)
    const sender = new Sender({
      updater,
      connection,
      prove: async (report, counter) => {
        const { key } = this.#credentials()
        return await withProof(report, { device: updater.device, key, counter })
      },
      log: this.#log,
    })
    const greeter = new Greeter({
      retryMs: config.helloRetryMs,
      publish: (nonce) => connection.publish('hello', this.#hello(updater, nonce)),
      onGreeted: () => sender.open(),
      logSize: () => updater.device.seenLog?.size ?? 0,
      log: this.#log,
    })
    const renewer = this.#renewer(config, disk, connection)
    this.#forward(updater, { connection, greeter, sender })
    return { config, disk, updater, connection, chunks, greeter, sender, renewer, lock }
  }

  #renewer({ serverHost, devicePort }: DeviceConfig, disk: FileDisk, connection: Connection) {
    return new Renewer({
      disk,
      clock: this.#clock,
      server: { host: serverHost, port: devicePort },
      identity: () => this.#credentials(),
      onRenewed: (identity) => {
        this.#identity = identity
        connection.restart()
        this.emit('renewed')
      },
      log: this.#log,
    })
  }

  #forward(updater: Updater, parts: Pick<Parts, 'connection' | 'greeter' | 'sender'>): void {
    const { connection, greeter, sender } = parts
    updater.on('queue', () => sender.kick())
    updater.on('ended', () => greeter.greet())
    updater.on('reboot', () => {
      connection.restart()
      this.emit('reboot')
    })
    updater.on('state', (change) => this.emit('state', change))
    updater.on('progress', (progress) => this.emit('progress', progress))
    updater.on('refused', (refusal) => this.emit('refused', refusal))
    updater.on('outcome', (outcome) => this.emit('outcome', outcome))
    sender.onSent = (message) => this.emit('sent', message)
  }

  #credentials(): Identity {
    if (!this.#identity)
      throw new DeviceError('not-enrolled', 'No certificate', 'Enroll the device')
    return this.#identity
  }

  #hello({ device }: Updater, nonce: string): Hello {
    const { model, hardwareIds, attributes } = device.config
    return Hello.parse({
      agent: agentName,
      model,
      hardwareIds,
      installed: device.installed(),
      attributes,
      nonce,
      have: device.have(),
      optOut: device.journal.owner.optOut,
      monitoring: device.journal.owner.monitoringOff !== true,
      managed: device.config.managed,
      bootId: device.bootId,
    })
  }

  #receive(leaf: string, payload: Buffer): void {
    const parts = this.#parts
    if (!parts) return
    switch (leaf) {
      case 'bundle':
        return this.#guard('bundle', parts.greeter.answer(payload, parts.updater))
      case 'chunk':
        return parts.chunks.receive(payload)
      case 'command':
        return this.#command(payload, parts)
      default:
        return this.#log('unknown message', { leaf })
    }
  }

  #command(payload: Buffer, { greeter, updater, renewer }: Parts): void {
    const command = parseCommand(payload)
    // Commands are hints: one too many is asked for again.
    if (!command || this.#commands >= maxCommands) return
    switch (command.command) {
      case 'refresh':
        return greeter.greet()
      case 'commit': {
        this.#commands += 1
        const taken = updater.takeCommit(command.deploymentId, command.commitNonce)
        return this.#guard(
          'commit',
          taken.finally(() => (this.#commands -= 1)),
        )
      }
      case 'renew':
        return this.#guard('renewal', renewer.hint({ ...command, at: new Date(command.at) }))
      default:
        return command satisfies never
    }
  }

  async #readInbox(): Promise<void> {
    const parts = this.#parts
    if (!parts || this.#isReadingInbox) return
    this.#isReadingInbox = true
    try {
      for (const handed of await readChoices(this.#options.dir)) {
        if (handed.request) await parts.updater.takeChoice(handed.request)
        await removeChoice(handed)
      }
    } finally {
      this.#isReadingInbox = false
    }
  }

  /** Nothing that goes wrong in the background may end the process: it is said, and tried again by the next cause. */
  #guard(what: string, work: Promise<unknown>): void {
    work.catch((error: unknown) => this.#log(`${what} failed`, { error: messageOf(error) }))
  }
}

function parseCommand(payload: Buffer): Command | undefined {
  try {
    const parsed = Command.safeParse(JSON.parse(payload.toString('utf8')))
    return parsed.success ? parsed.data : undefined
  } catch {
    return undefined
  }
}
