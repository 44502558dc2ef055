import { type KeyObject, X509Certificate } from 'node:crypto'

import type { AedesOptions, Client, Subscription } from 'aedes'

import type { Context } from '../context.ts'
import type { Identity } from '../identity.ts'
import { leafOf, type Leaf } from '../peer-leaf.ts'
import { deviceLeaves, type DeviceLeaf } from '../protocol/topics.ts'
import type { GroupCommit } from './group-commit.ts'
import { asRefused, runHook } from './hook.ts'
import { assertStillAllowed, identify } from './identity.ts'
import type { Limits } from './limits.ts'
import type { DirectHandler, MessageHandler } from './message.ts'
import { willPart } from './part.ts'
import { checkConnect, checkFilter, checkPublish, grantsOf } from './policy.ts'
import { type RefusalReason, Refused } from './refusal.ts'
import type { Session, Sessions } from './session.ts'

export interface HookDeps {
  ctx: Context
  limits: Limits
  sessions: Sessions
  groups: GroupCommit
  handlers: ReadonlyMap<DeviceLeaf, MessageHandler | DirectHandler>
  isStopping: () => boolean
}

type Done<T> = (error: Refused | null, value?: T) => void

/** Every Aedes hook, each wrapped by `runHook`. What they decide is in policy.ts and identity.ts. */
export function createHooks(
  deps: HookDeps,
): Pick<
  AedesOptions,
  'preConnect' | 'authenticate' | 'authorizePublish' | 'authorizeSubscribe' | 'authorizeForward'
> {
  const hook = <T>(
    client: Client | null,
    body: (session: Session) => T | Promise<T>,
    done: Done<T>,
  ) => {
    const session = client ? deps.sessions.of(client) : undefined
    // The will of a process that died (Aedes passes no client), or a connection that is already gone.
    if (!session) return done(new Refused('protocol-error'))
    runHook(deps.limits.hookMs, () => body(session), {
      answer: (error, value) => {
        if (error) done(deps.sessions.refuse(session, error))
        else done(null, value)
      },
      fault: (thrown) => {
        deps.sessions.refuse(session, asRefused(thrown))
        session.socket.destroy()
      },
    })
  }
  return {
    preConnect: (client, packet, done) =>
      hook(
        client,
        (session) => preConnect(deps, session, packet),
        (error, ok) => done(error, ok === true),
      ),
    authenticate: (client, _user, _password, done) =>
      hook(
        client,
        (session) => authenticate(deps, session),
        (error, ok) => done(error, ok === true),
      ),
    authorizePublish: (client, packet, done) =>
      hook(
        client,
        (session) => receive(deps, session, packet),
        (error) => done(error),
      ),
    authorizeSubscribe: (client, subscription, done) =>
      hook(
        client,
        (session) => subscribe(deps, session, subscription),
        (error) => done(error, error ? undefined : subscription),
      ),
    // Aedes delivers nothing: it has nothing to route by (direct.ts), and the server writes to sockets itself.
    authorizeForward: () => null,
  }
}

type Connect = Parameters<NonNullable<AedesOptions['preConnect']>>[1]
type Publish = Parameters<NonNullable<AedesOptions['authorizePublish']>>[1]

/** Sessions are always clean and have no will: what a device should know comes from the database (architecture.md §9). */
function preConnect(deps: HookDeps, session: Session, packet: Connect): true {
  // Closed without a word: it is to come again soon, to another process. After a CONNACK that is not 0 some clients never do.
  if (deps.isStopping()) throw new Refused('stopping')
  packet.clean = true
  delete packet.will
  try {
    checkConnect(packet, deps.limits)
  } catch (error) {
    const refused = asRefused(error)
    if (refused.reason !== 'protocol-version') throw refused
    // Aedes answers a version it does not know by CONNACK 1 and closes (3.1.1 §3.1.2.2); an error here would be silent.
    deps.sessions.refuse(session, refused)
    Object.assign(packet, { protocolVersion: 0 })
  }
  return true
}

/** Binds the client id to the certificate before Aedes registers it, or any certificate could take over any session. */
function authenticate(deps: HookDeps, session: Session): true | Promise<true> {
  const { ctx, sessions } = deps
  const enter = ({ deviceId }: Identity): true => {
    assertRoom(deps, deviceId)
    session.deviceId = deviceId
    session.replaces = sessions.get(deviceId)
    // Aedes ends it next.
    if (session.replaces) willPart(session.replaces.socket)
    return true
  }
  const identity = identify(ctx, session, session.client.id)
  return identity instanceof Promise ? identity.then(enter) : enter(identity)
}

/**
 * A device that was let in and could say nothing would come back at once, and again. One that has a session takes nothing more.
 *
 * @throws Refused with CONNACK code 3
 */
function assertRoom({ limits, sessions, groups }: HookDeps, deviceId: string): void {
  if (groups.isStuck) throw notNow('busy')
  if (sessions.size >= limits.maxSessions && !sessions.get(deviceId))
    throw notNow('too-many-sessions')
}

/** MQTT 3.1.1 §3.2.2.3, server unavailable: who reads it comes back later than after a connection that broke. */
function notNow(reason: RefusalReason): Refused {
  return new Refused(reason, {}, { returnCode: 3 })
}

/** The only point before PUBACK (broker.md §1.4): a message is stored and committed here. */
async function receive(deps: HookDeps, session: Session, packet: Publish): Promise<void> {
  const { ctx, limits, groups, handlers } = deps
  const { deviceId } = session
  if (deviceId === undefined) throw new Refused('protocol-error')
  const count = (
    outcome: 'stored' | 'taken' | 'refused' | 'malformed' | 'failed',
    leaf: DeviceLeaf | 'other',
  ) => ctx.metrics.mqttMessages.inc({ leaf, outcome })
  const leaf = deviceLeaves.find((known) => packet.topic.endsWith(`/${known}`)) ?? 'other'
  let outcome: Parameters<typeof count>[0] = 'refused'
  session.inFlight++
  try {
    const handler = handlers.get(checkPublish(deviceId, packet))
    if (!handler) throw new Refused('topic-refused', { topic: packet.topic })
    if (session.inFlight > limits.inFlightPerDevice) throw new Refused('too-many-in-flight')
    await assertStillAllowed(ctx, session)
    const payload = Buffer.from(packet.payload)
    outcome = 'malformed'
    if ('take' in handler) {
      if (packet.qos !== 0) throw new Refused('qos-refused', { qos: packet.qos })
      if (!handler.take(deviceId, payload)) throw new Refused('malformed-message', { leaf })
      outcome = 'taken'
      return
    }
    const parsed = handler.parse(payload)
    if (!parsed) throw new Refused('malformed-message', { leaf })
    outcome = 'failed'
    await groups.store({
      deviceId,
      session: session.epoch,
      handler,
      body: await prepared(session, deviceId, handler, parsed.body),
      bytes: payload.length,
      mayStore: () => ctx.identities.peek(session.fingerprint)?.allowed !== false,
    })
    outcome = 'stored'
  } finally {
    session.inFlight--
    count(outcome, leaf)
  }
}

/** In the order in which they came, also when one takes longer than the next. */
async function prepared(
  session: Session,
  deviceId: string,
  handler: MessageHandler,
  body: unknown,
): Promise<unknown> {
  while (session.preparing) await session.preparing.catch(() => {})
  const { fingerprint, socket } = session
  const key = () => keyIn(leafOf(socket))
  const work = handler.prepare?.(body, { deviceId, fingerprint, key })
  if (!work) return body
  const preparing = work.finally(() => (session.preparing = undefined))
  session.preparing = preparing
  return await preparing
}

function keyIn(leaf: Leaf | undefined): KeyObject | undefined {
  return leaf && new X509Certificate(leaf.raw).publicKey
}

function subscribe(
  { ctx, limits }: HookDeps,
  session: Session,
  { topic, qos }: Subscription,
): void | Promise<void> {
  const { deviceId, filters } = session
  if (deviceId === undefined) throw new Refused('protocol-error')
  checkFilter(deviceId, topic)
  filters.set(topic, qos === 0 ? 0 : 1)
  session.granted = grantsOf(deviceId, filters)
  if (filters.size > limits.filters)
    throw new Refused('too-many-filters', { filters: filters.size })
  return assertStillAllowed(ctx, session)
}
