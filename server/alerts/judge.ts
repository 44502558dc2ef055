import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { concernsServer } from '../events/catalogue.ts'
import { takeUnjudged } from '../events/judging.ts'
import { firstIdOf, newId } from '../ids.ts'
import {
  countRecent,
  markTold,
  membershipsOf,
  mostOpen,
  raise,
  unmonitored,
  unresolvedOf,
} from './judge-store.ts'
import { type AlertRule, gather, type Gathered, type JudgedEvent } from './match.ts'
import { type Alert, listRules, mostRules } from './store.ts'
import { tellAlerts } from './tell.ts'

const batchSize = 500

/**
 * Looks at a batch of new security events by all rules: raises alerts, adds to those that are not resolved, and tells the channels of those that are new or
 * go on after their quiet time. In one transaction, so that an event is looked at once.
 *
 * @returns whether there may be more
 */
export async function judgeEvents({ db, clock }: Pick<Context, 'db' | 'clock'>): Promise<boolean> {
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    const events = await takeUnjudged(tx, batchSize)
    if (events.length === 0) return false
    const rules = await listRules(tx, { limit: mostRules })
    const gathered = await gatherOf(tx, rules, events)
    const rises = await risesOf(tx, gathered, events.at(-1)?.id ?? '')
    if (rises.length > 0) {
      const alerts = await raise(
        tx,
        rises.map(({ rule, ...one }) => ({ ...one, id: newId(now), ruleId: rule.id })),
      )
      await tellDue(tx, rules, alerts, now)
    }
    return events.length === batchSize
  })
}

async function gatherOf(
  tx: Tx,
  rules: readonly AlertRule[],
  events: readonly JudgedEvent[],
): Promise<Gathered[]> {
  const deviceIds = [...new Set(events.flatMap(({ device_id: id }) => id ?? []))]
  const groupIds = [...new Set(rules.flatMap(({ group_ids: ids }) => ids))]
  const quiet = await unmonitored(tx, deviceIds)
  // Whose owner switched monitoring off raises no alert by what it does; attacks on the server do.
  const watched = events.filter(
    ({ kind, source, device_id: id }) =>
      id === null || !quiet.has(id) || (source === 'server' && concernsServer(kind)),
  )
  return gather(rules, watched, await membershipsOf(tx, deviceIds, groupIds))
}

/** What adds to an alert, and what is enough for a new one. */
async function risesOf(tx: Tx, gathered: readonly Gathered[], lastId: string): Promise<Gathered[]> {
  if (gathered.length === 0) return []
  const unresolved = await unresolvedOf(tx, [...new Set(gathered.map(({ rule }) => rule.id))])
  const openOf = new Map<string, number>()
  for (const name of unresolved) {
    const ruleId = name.slice(0, 36)
    openOf.set(ruleId, (openOf.get(ruleId) ?? 0) + 1)
  }
  const rises = new Map<string, Gathered>()
  for (const one of gathered) {
    const { rule, key } = one
    const isKnown = unresolved.has(`${rule.id} ${key}`)
    const enough = isKnown ? one : await enoughOf(tx, one, lastId)
    if (!enough) continue
    const open = openOf.get(rule.id) ?? 0
    if (!isKnown) openOf.set(rule.id, open + 1)
    const fits = isKnown || open < mostOpen
    merge(rises, fits ? enough : { ...enough, key: `${one.kind} others`, deviceId: null })
  }
  return [...rises.values()]
}

/** With what came before it, when that is within the rule's time. */
async function enoughOf(tx: Tx, one: Gathered, lastId: string): Promise<Gathered | undefined> {
  const { rule, kind, deviceId, lastAt } = one
  if (rule.threshold <= 1) return one
  const firstAt = new Date(lastAt.getTime() - rule.window_seconds * 1000)
  const since = firstIdOf(firstAt)
  const limit = Math.max(rule.threshold, 10_000)
  const groupIds = rule.group_ids
  const n = await countRecent(tx, { kind, deviceId, since, until: lastId, limit, groupIds })
  return n >= rule.threshold ? { ...one, count: n } : undefined
}

function merge(rises: Map<string, Gathered>, one: Gathered): void {
  const name = `${one.rule.id} ${one.key}`
  const known = rises.get(name)
  rises.set(name, known ? { ...one, count: known.count + one.count, firstAt: known.firstAt } : one)
}

async function tellDue(
  tx: Tx,
  rules: readonly AlertRule[],
  alerts: readonly Alert[],
  now: Date,
): Promise<void> {
  const ruleOf = new Map(rules.map((rule) => [rule.id, rule]))
  const due = alerts.flatMap((alert) => {
    const rule = ruleOf.get(alert.rule_id)
    return rule && isDue(alert, rule, now) ? [{ alert, rule }] : []
  })
  await tellAlerts(tx, due, now)
  await markTold(
    tx,
    due.map(({ alert }) => alert.id),
    now,
  )
}

function isDue({ state, told_at: told }: Alert, rule: AlertRule, now: Date): boolean {
  if (told === null) return true
  return state === 'open' && now.getTime() - told.getTime() >= rule.quiet_seconds * 1000
}
