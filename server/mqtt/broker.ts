import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'

import { Aedes, type Client } from 'aedes'

import { listenBacklog } from '../admission.ts'
import type { Context } from '../context.ts'
import { noteEvent } from '../events/record.ts'
import { CloneWatch } from './clone-watch.ts'
import { createTransport } from './device-transport.ts'
import { noPersistence, noRouting } from './direct.ts'
import { Drain } from './drain.ts'
import { createGate, type Gate } from './gate.ts'
import { GroupCommit } from './group-commit.ts'
import { asRefused } from './hook.ts'
import { createHooks } from './hooks.ts'
import { assertStillAllowed } from './identity.ts'
import { defaultLimits, type Limits } from './limits.ts'
import type { DirectHandler, MessageHandler } from './message.ts'
import { NodeLease } from './node-lease.ts'
import { guardParser } from './packet-cap.ts'
import { partWith } from './part.ts'
import { grantsOf } from './policy.ts'
import { Presence } from './presence.ts'
import { RefusalLog, Refused } from './refusal.ts'
import { type Session, Sessions } from './session.ts'
import { TakeOvers } from './take-over.ts'
import { TokenBucket } from './token-bucket.ts'
import type { DeviceTransport } from './transport.ts'

export interface BrokerOptions {
  /** At most one for each leaf; a device may publish only where there is one. */
  handlers: readonly MessageHandler[]
  /** The same for what is not stored. */
  direct?: readonly DirectHandler[]
  limits?: Limits
  /** Other processes listen on the same port: the system gives each its share of connections. */
  reusePort?: boolean
  /** A device is connected and may be spoken to. */
  onReady?: (deviceId: string) => void
}

export interface Broker extends AsyncDisposable {
  transport: DeviceTransport
  port: number
  /** Lets nobody in any more, and ends all connections spread over this time, in milliseconds. */
  drain: (forMs: number) => Promise<void>
}

/**
 * The MQTT broker for devices: Aedes behind a TLS gate (architecture.md §6 and §7; bounds in limits.ts). Listens on
 * `config.ports.mqtt` when it returns. Disposing it stops accepting, commits and acknowledges what was received, closes
 * all connections and shows their devices as offline, within 10 s.
 *
 * @throws when the port cannot be had or two handlers have one leaf
 */
export async function startBroker(
  ctx: Context,
  { handlers, direct = [], limits = defaultLimits, reusePort = false, onReady }: BrokerOptions,
): Promise<Broker> {
  const byLeaf = handlersByLeaf(handlers, direct)
  const refusals = new RefusalLog(ctx)
  const sessions = new Sessions(refusals)
  const presence = new Presence(ctx)
  const lease = new NodeLease(ctx, () => announce(sessions, presence))
  const groups = new GroupCommit(ctx, limits)
  let stopping = false

  await presence.start()
  await lease.start()
  const drain = new Drain(sessions, limits)
  const isStopping = () => stopping || drain.isOn()
  const hooks = createHooks({ ctx, limits, sessions, groups, handlers: byLeaf, isStopping })
  const clones = new CloneWatch()
  const onTaken = (before: Session, from?: string) => watchClone(ctx, clones, before, from)
  const takeOvers = new TakeOvers(ctx, { sessions, presence }, { onTaken })
  await takeOvers.start()
  const ready = (client: Client) => {
    const session = sessions.of(client)
    if (!session) return
    if (session.replaces) watchClone(ctx, clones, session.replaces, session.remoteAddress)
    enter({ ctx, sessions, presence }, session)
    if (session.deviceId !== undefined && !session.socket.destroyed) onReady?.(session.deviceId)
  }
  const aedes = await Aedes.createBroker({
    ...hooks,
    connectTimeout: limits.connectMs,
    drainTimeout: limits.drainMs,
    maxTopicLevels: limits.topicLevels,
    mq: noRouting,
    persistence: noPersistence(ready),
  })
  listenToAedes(aedes, ctx, sessions)

  const gate = createGate(ctx, limits, refusals, (socket, fingerprint) => {
    if (isStopping()) return void socket.destroy()
    // Before Aedes removes what listeners it likes.
    socket.once('close', () => leave({ ctx, sessions, presence }, session))
    const session = newSession(aedes.handle(socket), socket, fingerprint, limits)
    sessions.add(session)
    guardParser(session, limits, (refused) => sessions.refuse(session, refused))
  })
  const { bind: host, ports } = ctx.config
  gate.server.listen({ port: ports.mqtt, host, reusePort, backlog: listenBacklog })
  await once(gate.server, 'listening')

  return {
    transport: createTransport(sessions, limits),
    port: (gate.server.address() as AddressInfo).port,
    drain: async (forMs) => await drain.run(gate.server, forMs),
    [Symbol.asyncDispose]: async () => {
      if (stopping) return
      stopping = true
      const closed = new Promise<void>((resolve) => gate.server.close(() => resolve()))
      await groups[Symbol.asyncDispose]()
      // The acknowledgements of the last group are written in this turn of the event loop.
      await nextTurn()
      await closeAll(aedes, sessions, gate, limits)
      await closed
      await takeOvers[Symbol.asyncDispose]()
      await presence.flush()
      presence.stop()
      await lease
        .release()
        .catch((error: unknown) => ctx.log.warn({ err: error }, 'presence was not cleared'))
    },
  }
}

function handlersByLeaf(handlers: readonly MessageHandler[], direct: readonly DirectHandler[]) {
  const byLeaf = new Map([...handlers, ...direct].map((handler) => [handler.leaf, handler]))
  if (byLeaf.size !== handlers.length + direct.length)
    throw new Error('Two message handlers have the same leaf')
  return byLeaf
}

type Parts = { ctx: Context; sessions: Sessions; presence: Presence }

function newSession(
  client: Client,
  socket: TLSSocket,
  fingerprint: string,
  limits: Limits,
): Session {
  return {
    client,
    socket,
    fingerprint,
    remoteAddress: socket.remoteAddress,
    bucket: new TokenBucket(limits.packetsPerSecond, limits.packetBurst),
    deviceId: undefined,
    epoch: 0,
    inFlight: 0,
    preparing: undefined,
    filters: new Map(),
    granted: {},
    packetId: 0,
    replaces: undefined,
    refused: undefined,
  }
}

function watchClone(
  ctx: Context,
  clones: CloneWatch,
  { remoteAddress: from, deviceId, fingerprint }: Session,
  to: string | undefined,
): void {
  if (from === undefined || to === undefined || deviceId === undefined) return
  const addresses = clones.takenOver(deviceId, { from, to, now: ctx.clock.now().getTime() })
  if (!addresses) return
  const facts = { addresses, fingerprint }
  const kind = 'identity-cloned'
  noteEvent(ctx, { source: 'server', kind, severity: 'critical', deviceId, facts })
}

/** CONNACK 0 went out. */
function enter({ ctx, sessions, presence }: Parts, session: Session): void {
  const { deviceId, socket, replaces } = session
  if (deviceId === undefined || socket.destroyed || socket.writableEnded) return
  const end = (error: unknown) => {
    sessions.refuse(session, asRefused(error))
    partWith(socket)
  }
  session.epoch = presence.nextEpoch()
  presence.set(deviceId, session.epoch, true)
  const before = sessions.ready(session, deviceId)
  ctx.metrics.mqttConnections.set(sessions.size)
  // Aedes has closed the older connection by now; when the older one closed by itself at the same moment, Aedes may have
  // lost sight of one of them (broker.md §1.6).
  if (replaces) sessions.refuse(replaces, new Refused('taken-over'))
  session.replaces = undefined
  if (before) partWith(before.socket)
  try {
    void assertStillAllowed(ctx, session)?.catch(end)
  } catch (error) {
    end(error)
  }
}

function leave({ ctx, sessions, presence }: Parts, session: Session): void {
  sessions.remove(session)
  ctx.metrics.mqttConnections.set(sessions.size)
  if (session.deviceId !== undefined && session.epoch > 0) {
    presence.set(session.deviceId, session.epoch, false)
  }
}

function announce(sessions: Sessions, presence: Presence): void {
  for (const { deviceId, epoch } of sessions.readySessions()) {
    if (deviceId !== undefined) presence.set(deviceId, epoch, true)
  }
}

function listenToAedes(aedes: Aedes, { log }: Context, sessions: Sessions): void {
  const failed = (client: Client, error: Error) => {
    const session = sessions.of(client)
    if (session) sessions.refuse(session, reasonOf(error))
  }
  aedes.on('clientError', failed)
  aedes.on('connectionError', failed)
  aedes.on('unsubscribe', (filters, client) => {
    const session = sessions.of(client)
    for (const filter of filters) session?.filters.delete(filter)
    if (session?.deviceId !== undefined)
      session.granted = grantsOf(session.deviceId, session.filters)
  })
  // Without a listener a failure inside Aedes would end the process; `on` has no type for this event.
  const emitter: NodeJS.EventEmitter = aedes
  emitter.on('error', (error: unknown) => log.error({ err: error }, 'the broker reported an error'))
}

/** Aedes' own words for what it noticed by itself. */
const messages: Readonly<Record<string, ConstructorParameters<typeof Refused>[0]>> = {
  'connect did not arrive in time': 'connect-timeout',
  'keep alive timeout': 'keepalive-timeout',
  'drain timeout': 'slow-consumer',
  'connection closed': 'connection-broken',
}

function reasonOf(error: Error): Refused {
  if (error instanceof Refused) return error
  const code = 'code' in error && typeof error.code === 'string'
  const reason = messages[error.message] ?? (code ? 'connection-broken' : 'protocol-error')
  return new Refused(
    reason,
    reason === 'protocol-error' ? { problem: error.message.slice(0, 100) } : {},
  )
}

/** Lets what was written (acknowledgements above all) go out, then ends what is left. */
async function closeAll(
  aedes: Aedes,
  sessions: Sessions,
  gate: Gate,
  limits: Limits,
): Promise<void> {
  const closes: Promise<unknown>[] = []
  for (const session of sessions.all()) {
    sessions.refuse(session, new Refused('stopping'))
    closes.push(once(session.socket, 'close'))
    session.socket.end()
  }
  const late = Promise.withResolvers<void>()
  const timer = setTimeout(late.resolve, limits.closeMs)
  await Promise.race([Promise.all(closes), late.promise])
  clearTimeout(timer)
  for (const socket of gate.sockets) socket.destroy()
  await new Promise<void>((resolve) => aedes.close(resolve))
}
