import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

import { sql } from 'kysely'
import { pino } from 'pino'
import { z } from 'zod'

import { createLocalBus } from '../../server/bus.ts'
import { systemClock } from '../../server/clock.ts'
import { ConnectionIndex } from '../../server/connections.ts'
import type { Context } from '../../server/context.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { flushEvents } from '../../server/events/record.ts'
import type { IdentityDirectory, Refusal, Verdict } from '../../server/identity.ts'
import { createMetrics } from '../../server/metrics.ts'
import { type Broker, startBroker } from '../../server/mqtt/broker.ts'
import { defaultLimits, type Limits } from '../../server/mqtt/limits.ts'
import { type DirectHandler, message, type MessageHandler } from '../../server/mqtt/message.ts'
import { type DeviceLeaf, topicOf } from '../../server/protocol/topics.ts'
import {
  type BrokerPki,
  createBrokerPki,
  type Credentials,
  type DeviceOptions,
} from './broker-pki.ts'
import { type ConnectFields, RawDevice, type RawOptions } from './raw-device.ts'

/** The directory as the broker sees it, with answers that a test decides. */
export class FakeDirectory implements IdentityDirectory {
  readonly verdicts = new Map<string, Verdict>()
  /** Fingerprints that memory does not have, so that `check` is asked. */
  readonly forgotten = new Set<string>()
  /** Awaited by every `check`; it may throw or never end. */
  beforeCheck: () => Promise<void> = async () => {}
  beforePeek: () => void = () => {}

  allow({ fingerprint, deviceId }: Credentials): void {
    const identity = { deviceId, certificateId: randomUUID(), fingerprint }
    this.verdicts.set(fingerprint, { allowed: true, identity })
  }

  refuse({ fingerprint, deviceId }: Credentials, refusal: Refusal): void {
    this.verdicts.set(fingerprint, { allowed: false, refusal, deviceId })
  }

  peek = (fingerprint: string) => {
    this.beforePeek()
    return this.forgotten.has(fingerprint) ? undefined : this.verdicts.get(fingerprint)
  }

  check = async (fingerprint: string): Promise<Verdict> => {
    // As a slow read does: it answers what was true when it began.
    const verdict = this.verdicts.get(fingerprint)
    await this.beforeCheck()
    this.forgotten.delete(fingerprint)
    return verdict ?? { allowed: false, refusal: 'unknown-certificate' }
  }

  deviceAllowed = (deviceId: string) =>
    [...this.verdicts.values()].some(
      (verdict) => verdict.allowed && verdict.identity.deviceId === deviceId,
    )

  ready = () => true
}

export const Body = z.strictObject({
  n: z.int(),
  /** Makes the statement fail in the database, whatever else is in its group. */
  isBad: z.boolean().optional(),
  pad: z.string().optional(),
})
type Body = z.infer<typeof Body>

/** What the stores of a test broker do before they write. */
export interface StoreControl {
  before: (leaf: DeviceLeaf, bodies: readonly Body[]) => Promise<void>
  after?: (ctx: Context) => Promise<void>
  /** Sizes of the groups as they were stored, repeated attempts included. */
  groups: number[]
}

/** Stores `{n}` as an audit row `test.<leaf>` of the device, once however often it comes. */
export function storingHandler(leaf: DeviceLeaf, control: StoreControl): MessageHandler {
  return message({
    leaf,
    maxBytes: 65_536,
    body: Body,
    store: async ({ tx, messages, now }) => {
      control.groups.push(messages.length)
      await control.before(
        leaf,
        messages.map(({ body }) => body),
      )
      const ids = messages.map(({ deviceId }) => deviceId)
      const texts = messages.map(({ body }) => (body.isBad ? 'bad' : String(body.n)))
      await sql`insert into audit_event (at, actor, action, subject, facts)
        select ${now}::timestamptz, 'system', ${`test.${leaf}`}, device, jsonb_build_object('n', n::int)
        from unnest(${ids}::text[], ${texts}::text[]) with ordinality as sent (device, n, place)
        where n = 'bad' or not exists (select from audit_event
          where subject = device and action = ${`test.${leaf}`} and facts ->> 'n' = n)
        order by place`.execute(tx)
      return control.after
    },
  })
}

export interface TestBroker extends AsyncDisposable {
  ctx: Context
  broker: Broker
  directory: FakeDirectory
  pki: BrokerPki
  control: StoreControl
  /** A device whose certificate the directory allows. */
  device: (options?: DeviceOptions) => Promise<Credentials>
  open: (
    credentials?: Pick<Credentials, 'key' | 'cert'>,
    options?: RawOptions,
  ) => Promise<RawDevice>
  /** Opened and connected, with CONNACK 0. */
  connected: (credentials: Credentials, fields?: Partial<ConnectFields>) => Promise<RawDevice>
  /** A new device, connected. */
  pair: () => Promise<{ credentials: Credentials; device: RawDevice }>
  /** The whole way of an honest device: connects, is acknowledged, leaves. */
  isServed: (credentials: Credentials) => Promise<boolean>
  /** The numbers stored for a device, in order. */
  stored: (deviceId: string, leaf?: DeviceLeaf) => Promise<number[]>
  /** Kinds of the security events so far, of one device or of all. */
  events: (deviceId?: string) => Promise<string[]>
  refusals: (reason: string) => Promise<number>
}

export interface TestBrokerOptions {
  limits?: Partial<Limits>
  handlers?: readonly MessageHandler[]
  direct?: (ctx: Context) => readonly DirectHandler[]
  pki?: BrokerPki
  nodeId?: string
  clock?: Context['clock']
  tickets?: Context['tickets']
}

const config = { bind: '127.0.0.1', ports: { mqtt: 0 } }

export async function startTestBroker(
  { db }: DatabaseHandle,
  options: TestBrokerOptions = {},
): Promise<TestBroker> {
  const pki = options.pki ?? (await createBrokerPki())
  const directory = new FakeDirectory()
  const control: StoreControl = { before: async () => {}, groups: [] }
  const ctx = {
    db,
    clock: options.clock ?? systemClock,
    log: pino({ level: process.env['TEST_LOG'] ?? 'silent' }),
    metrics: createMetrics(),
    nodeId: options.nodeId ?? randomUUID(),
    config,
    bus: createLocalBus(),
    connections: new ConnectionIndex(),
    identities: directory,
    authorities: pki.authorities,
    tickets: options.tickets,
  } as unknown as Context
  const stores = (['report', 'hello'] as const).map((leaf) => storingHandler(leaf, control))
  const handlers = options.handlers ?? stores
  const broker = await startBroker(ctx, {
    handlers,
    direct: options.direct?.(ctx) ?? [],
    limits: { ...defaultLimits, ...options.limits },
  })
  ctx.transport = broker.transport
  const newDevice: TestBroker['device'] = async (deviceOptions) => {
    const credentials = await pki.device(deviceOptions)
    directory.allow(credentials)
    return credentials
  }
  const connected: TestBroker['connected'] = async (credentials, fields) => {
    const device = await open(credentials)
    const code = await device.connect({ clientId: credentials.deviceId, ...fields })
    if (code !== 0) throw new Error(`CONNACK ${code}`)
    // In one process the client may see CONNACK before the server has finished saying it.
    await until(() => broker.transport.isConnected(credentials.deviceId), 'the device is known')
    return device
  }
  const open: TestBroker['open'] = async (credentials, more) =>
    await RawDevice.open(broker.port, pki.rootPem, credentials, more)
  return {
    ctx,
    broker,
    directory,
    pki,
    control,
    open,
    device: newDevice,
    connected,
    pair: async () => {
      const credentials = await newDevice()
      return { credentials, device: await connected(credentials) }
    },
    isServed: async (credentials) => {
      const device = await open(credentials)
      if ((await device.connect({ clientId: credentials.deviceId })) !== 0) return false
      const topic = reportTopic(credentials)
      const isStored = await device.publish({ topic, payload: '{"n":1}' })
      await device.close()
      return isStored
    },
    ...readers(ctx),
    [Symbol.asyncDispose]: async () => {
      await broker[Symbol.asyncDispose]()
      await flushEvents(ctx)
    },
  }
}

/** What a test looks at afterwards. */
function readers(ctx: Context): Pick<TestBroker, 'stored' | 'events' | 'refusals'> {
  const { db } = ctx
  return {
    stored: async (deviceId, leaf = 'report') => {
      const rows = await db
        .selectFrom('audit_event')
        .select('facts')
        .where('subject', '=', deviceId)
        .where('action', '=', `test.${leaf}`)
        .orderBy('seq')
        .execute()
      return rows.map(({ facts }) => (facts as Body).n)
    },
    events: async (deviceId) => {
      await flushEvents(ctx)
      const rows = await db
        .selectFrom('security_event')
        .select(['kind', 'device_id'])
        .orderBy('id')
        .execute()
      return rows
        .filter((row) => deviceId === undefined || row.device_id === deviceId)
        .map(({ kind }) => kind)
    },
    refusals: async (reason) => {
      const { values } = await ctx.metrics.mqttRefused.get()
      return values.find(({ labels }) => labels.reason === reason)?.value ?? 0
    },
  }
}

export const reportTopic = ({ deviceId }: Credentials, leaf: DeviceLeaf = 'report') =>
  topicOf(deviceId, leaf)

/** Waits for a condition that other work brings about; fails when it does not come. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`Did not happen: ${what}`)
    await sleep(5)
  }
}
