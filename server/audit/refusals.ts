import type { ErrorRequestHandler, Request, Response } from 'express'

import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { asDomainError, problems } from '../http/problem.ts'
import { TokenBucket } from '../mqtt/token-bucket.ts'
import type { Worker } from '../workers/worker.ts'
import { type AuditEntry, recordAudits } from './audit.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log'>

/** Of one caller and kind: so many at once, and so many more in time. What is above is counted, and the count recorded. */
const burst = 60
const perSecond = 1 / 10
const maxFlows = 10_000
const sumEveryMs = 60_000

interface Flow {
  actor: string
  action: string
  bucket: TokenBucket
  suppressed: number
}

/** By database: one for each process. */
const flowsOf = new WeakMap<object, Map<string, Flow>>()

/**
 * Records what callers who are known were refused: what they may not do, changes that were not made, and credentials that open nothing any more. The
 * row is there before the answer is. Neither bodies nor queries are recorded: they may hold secrets.
 */
export function recordRefusals(ctx: Deps): ErrorRequestHandler {
  return async (error, req, res, next) => {
    const entry = refusalOf(error, req, res)
    if (entry) await record(ctx, entry)
    next(error)
  }
}

type Refusal = Omit<AuditEntry, 'at'>

const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g
const changing = new Set(['POST', 'PUT', 'PATCH', 'DELETE'])

function refusalOf(error: unknown, req: Request, res: Response): Refusal | undefined {
  const known = asDomainError(error)
  if (!known) return undefined
  const [status] = problems[known.code]
  const caller = callerOf(res)
  const refused = caller === undefined ? refusedCallerOf(res) : undefined
  const actor = caller ?? refused?.actor
  const action = actionOf(known.code, {
    status,
    method: req.method,
    isRefused: caller === undefined,
  })
  if (actor === undefined || action === undefined) return undefined
  const route = textOf(res.locals['route']) ?? 'none'
  const ids = req.path.match(uuid)?.slice(0, 10) ?? []
  const needs = textOf(known.facts['needs'])
  return {
    actor,
    action,
    // What was to be changed is as it was: its own rows tell what became of it.
    subject: action === 'change.refuse' ? route : (ids[0] ?? route),
    facts: {
      method: req.method,
      route,
      ...(ids.length > 0 ? { ids } : {}),
      code: known.code,
      ...(refused ? { reason: refused.reason } : {}),
      ...(needs === undefined ? {} : { needs }),
    },
    requestId: String(res.locals['requestId']),
  }
}

function actionOf(
  code: string,
  { status, method, isRefused }: { status: number; method: string; isRefused: boolean },
): string | undefined {
  if (isRefused) return status === 401 || status === 403 ? 'authentication.refuse' : undefined
  if (code === 'not-allowed') return 'access.refuse'
  return changing.has(method) && status >= 400 && status < 500 ? 'change.refuse' : undefined
}

function callerOf(res: Response): string | undefined {
  const actor: unknown = res.locals['actor']
  return typeof actor === 'object' && actor !== null && 'id' in actor ? textOf(actor.id) : undefined
}

/** Whose credential was refused, where that is known (operators/authenticate.ts). */
const owners = {
  keyId: 'key',
  personId: 'user',
  workloadId: 'workload',
  certificateId: 'certificate',
} as const

function refusedCallerOf(res: Response): { actor: string; reason: string } | undefined {
  const refused: unknown = res.locals['refused']
  if (typeof refused !== 'object' || refused === null || !('refusal' in refused)) return undefined
  const facts: unknown = 'facts' in refused ? refused.facts : undefined
  if (typeof facts !== 'object' || facts === null) return undefined
  for (const [name, kind] of Object.entries(owners)) {
    const id: unknown = Object.entries(facts).find(([key]) => key === name)?.[1]
    if (typeof id === 'string') return { actor: `${kind}:${id}`, reason: String(refused.refusal) }
  }
  return undefined
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

async function record({ db, clock, log }: Deps, entry: Refusal): Promise<void> {
  const flow = flowOf(db, entry)
  if (!flow.bucket.take()) {
    flow.suppressed++
    return
  }
  const { suppressed } = flow
  flow.suppressed = 0
  const facts = suppressed === 0 ? entry.facts : { ...entry.facts, suppressed }
  await write({ db, log }, [{ ...entry, facts, at: clock.now() }], () => {
    flow.suppressed += suppressed + 1
  })
}

/** The refusal stands, recorded or not: nothing was changed, and the caller is told so. */
async function write(
  { db, log }: Pick<Deps, 'db' | 'log'>,
  entries: AuditEntry[],
  onFailure: () => void,
): Promise<void> {
  await inTransaction(db, (tx) => recordAudits(tx, entries)).catch((error: unknown) => {
    onFailure()
    log.warn({ err: error }, 'a refusal is recorded later, as one of a number')
  })
}

function flowOf(db: object, { actor, action }: Pick<Refusal, 'actor' | 'action'>): Flow {
  const flows = flowsOf.get(db) ?? new Map<string, Flow>()
  flowsOf.set(db, flows)
  const key = `${actor} ${action}`
  const flow = flows.get(key) ?? {
    actor,
    action,
    bucket: new TokenBucket(perSecond, burst),
    suppressed: 0,
  }
  // A Map iterates in order of insertion: the longest unseen one makes room.
  flows.delete(key)
  flows.set(key, flow)
  const [oldest] = flows.keys()
  if (flows.size > maxFlows && oldest !== undefined) flows.delete(oldest)
  return flow
}

/** Records how many refusals were left out, for each caller and kind. */
export async function sumRefusals({ db, clock, log }: Deps): Promise<void> {
  const flows = [...(flowsOf.get(db)?.values() ?? [])].filter(({ suppressed }) => suppressed > 0)
  if (flows.length === 0) return
  const counts = flows.map((flow) => ({ flow, suppressed: flow.suppressed }))
  for (const { flow } of counts) flow.suppressed = 0
  const at = clock.now()
  const entries = counts.map(({ flow: { actor, action }, suppressed }) => ({
    at,
    actor,
    action,
    subject: 'several',
    facts: { suppressed },
  }))
  await write({ db, log }, entries, () => {
    for (const { flow, suppressed } of counts) flow.suppressed += suppressed
  })
}

export function refusalWorkers(ctx: Deps): Worker[] {
  const step = async () => {
    await sumRefusals(ctx)
    return false
  }
  return [{ name: 'audit-refusals', idleMs: sumEveryMs, step }]
}
