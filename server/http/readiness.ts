import { setTimeout as sleep } from 'node:timers/promises'

import { sql } from 'kysely'

import type { Context } from '../context.ts'
import { type DiskState, readDisk } from '../disk.ts'
import { noTransport } from '../mqtt/transport.ts'

const databaseTimeoutMs = 2_000
/** Anybody may ask; the database is asked at most once in this time. */
const freshMs = 1_000

export interface Readiness {
  status: 'ready' | 'not-ready'
  /** `ok`, or why not, in words for a person. */
  checks: Record<'database' | 'broker' | 'authorities' | 'identities' | 'bus' | 'disk', string>
  /** With FLEETSEAL_BROKERS: how many broker processes there are to be, and how many take devices now. */
  brokers?: { wanted: number; running: number }
  /** Where artifacts are in a bucket. `degraded`: uploads and downloads wait for it; no reason to be not ready. */
  storage?: 'ok' | 'degraded'
  /** `low`: make room. `full`: uploads are refused, and on the embedded database every change. */
  disk: DiskState | 'unknown'
  metadata: {
    /** The roots were imported. Updates need them; everything else works without. */
    imported: boolean
    /** Signed with keys that were made for trying things out. */
    evaluation: boolean
    /** Online roles that should have been signed again by now; devices refuse updates once they have expired. */
    overdue: { role: string; expiresAt: string }[]
  }
  /** Receivers that take nothing at present, and since when the first; what they were to be told waits. No reason to be not ready. */
  webhooks: { failing: number; since: string | null }
}

/** A function that says whether this process can do its work now. */
export function createReadiness(ctx: Context): () => Promise<Readiness> {
  let last: { at: number; answer: Promise<Readiness> } | undefined
  return async () => {
    const at = ctx.clock.now().getTime()
    if (!last || at - last.at >= freshMs || at < last.at) last = { at, answer: look(ctx) }
    return await last.answer
  }
}

async function look(ctx: Context): Promise<Readiness> {
  const [metadata, disk] = await Promise.all([
    within(readMetadata(ctx), databaseTimeoutMs),
    within(readDisk(ctx.config), databaseTimeoutMs),
  ])
  const checks = {
    database: databaseState(metadata),
    broker: brokerState(ctx),
    authorities: authoritiesState(ctx),
    identities: ctx.identities.ready() ? 'ok' : 'the status of devices is not known',
    bus: ctx.bus.connected() ? 'ok' : 'changes in other processes are not heard',
    disk: diskState(ctx, disk?.state),
  }
  const ready = Object.values(checks).every((state) => state === 'ok')
  return {
    status: ready ? 'ready' : 'not-ready',
    checks,
    ...(ctx.brokers && {
      brokers: { wanted: ctx.brokers.wanted, running: ctx.brokers.running() },
    }),
    ...(ctx.storage.remote && { storage: ctx.storage.remote.state() }),
    disk: disk?.state ?? 'unknown',
    metadata: metadata?.metadata ?? { imported: false, evaluation: false, overdue: [] },
    webhooks: metadata?.webhooks ?? { failing: 0, since: null },
  }
}

/** One of several broker processes that is being started again leaves the others to take its devices. */
function brokerState({ brokers, config, transport, isDraining }: Context): string {
  if (isDraining) return 'it stops: its devices are sent elsewhere'
  if (brokers) return brokers.running() > 0 ? 'ok' : 'no broker process runs'
  return transport === noTransport && config.role !== 'api' ? 'not started' : 'ok'
}

function databaseState(look: Look | undefined): string {
  if (!look) return 'does not answer'
  return look.takesChanges ? 'ok' : 'takes no changes: it is a standby, or its disk is full'
}

/** With PostgreSQL, which has a disk of its own, devices are served as before: a process without room is still better than none. */
function diskState({ config }: Context, state: DiskState | undefined): string {
  if (state === undefined) return 'the data directory cannot be read'
  const stops = state === 'full' && config.databaseUrl === undefined
  return stops ? 'full: nothing is stored until there is room' : 'ok'
}

function authoritiesState({ authorities, clock }: Context): string {
  return authorities.tls.notAfter > clock.now() ? 'ok' : 'the server certificate has expired'
}

/** As the alarm of the metadata workers: signing again must have failed for long. */
const overdueMs: Record<string, number> = { timestamp: 12 * 3_600_000, snapshot: 48 * 3_600_000 }

async function readOverdue({ db, clock }: Context): Promise<Readiness['metadata']['overdue']> {
  const rows = await db
    .selectFrom('metadata_file')
    .where('repository', '=', 'image')
    .where('role', 'in', Object.keys(overdueMs))
    .where('state', '=', 'published')
    .groupBy('role')
    .orderBy('role')
    .select(({ fn }) => ['role', fn.max<Date>('expires_at').as('expires_at')])
    .execute()
  const now = clock.now().getTime()
  return rows
    .map(({ role, expires_at: at }) => ({ role, expiresAt: new Date(at) }))
    .filter(({ role, expiresAt }) => expiresAt.getTime() - now < (overdueMs[role] ?? 0))
    .map(({ role, expiresAt }) => ({ role, expiresAt: expiresAt.toISOString() }))
}

interface Look {
  takesChanges: boolean
  metadata: Readiness['metadata']
  webhooks: Readiness['webhooks']
}

async function readMetadata(ctx: Context): Promise<Look> {
  const { db } = ctx
  const { rows } = await sql<{ read_only: boolean }>`
    select current_setting('transaction_read_only') = 'on' as read_only`.execute(db)
  const root = await db
    .selectFrom('metadata_file')
    .select(sql<boolean>`signed like '%"x-evaluation":true%'`.as('evaluation'))
    .where('repository', '=', 'image')
    .where('role', '=', 'root')
    .where('state', '=', 'published')
    .orderBy('version', 'desc')
    .limit(1)
    .executeTakeFirst()
  return {
    takesChanges: rows[0]?.read_only === false,
    metadata: {
      imported: root !== undefined,
      evaluation: root?.evaluation ?? false,
      overdue: await readOverdue(ctx),
    },
    webhooks: await readWebhooks(ctx),
  }
}

async function readWebhooks({ db }: Context): Promise<Readiness['webhooks']> {
  const row = await db
    .selectFrom('webhook_endpoint')
    .where('state', '=', 'active')
    .where('failing_since', 'is not', null)
    .select(({ fn }) => [
      fn.countAll<number>().as('failing'),
      fn.min<Date | null>('failing_since').as('since'),
    ])
    .executeTakeFirstOrThrow()
  return { failing: Number(row.failing), since: row.since?.toISOString() ?? null }
}

/** Undefined when the work fails or takes too long. */
async function within<T>(work: Promise<T>, timeoutMs: number): Promise<T | undefined> {
  const timer = new AbortController()
  try {
    return await Promise.race([
      work.catch(() => undefined),
      sleep(timeoutMs, undefined, { signal: timer.signal, ref: false }),
    ])
  } finally {
    timer.abort()
  }
}
