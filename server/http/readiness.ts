import { setTimeout as sleep } from 'node:timers/promises'

import { sql } from 'kysely'

import type { Context } from '../context.ts'
import { noTransport } from '../mqtt/transport.ts'

const databaseTimeoutMs = 2_000
/** Anybody may ask; the database is asked at most once in this time. */
const freshMs = 1_000

export interface Readiness {
  status: 'ready' | 'not-ready'
  /** `ok`, or why not, in words for a person. */
  checks: Record<'database' | 'broker' | 'authorities' | 'identities' | 'bus', string>
  metadata: {
    /** The roots were imported. Updates need them; everything else works without. */
    imported: boolean
    /** Signed with keys that were made for trying things out. */
    evaluation: boolean
  }
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
  const metadata = await within(readMetadata(ctx), databaseTimeoutMs)
  const checks = {
    database: metadata ? 'ok' : 'does not answer',
    broker: ctx.transport === noTransport ? 'not started' : 'ok',
    authorities: authoritiesState(ctx),
    identities: ctx.identities.ready() ? 'ok' : 'the status of devices is not known',
    bus: ctx.bus.connected() ? 'ok' : 'changes in other processes are not heard',
  }
  const ready = Object.values(checks).every((state) => state === 'ok')
  return {
    status: ready ? 'ready' : 'not-ready',
    checks,
    metadata: metadata ?? { imported: false, evaluation: false },
  }
}

function authoritiesState({ authorities, clock }: Context): string {
  return authorities.tls.notAfter > clock.now() ? 'ok' : 'the server certificate has expired'
}

async function readMetadata({ db }: Context): Promise<Readiness['metadata']> {
  const root = await db
    .selectFrom('metadata_file')
    .select(sql<boolean>`signed like '%"x-evaluation":true%'`.as('evaluation'))
    .where('repository', '=', 'image')
    .where('role', '=', 'root')
    .where('state', '=', 'published')
    .orderBy('version', 'desc')
    .limit(1)
    .executeTakeFirst()
  return { imported: root !== undefined, evaluation: root?.evaluation ?? false }
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
