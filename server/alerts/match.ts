import type { Selectable } from 'kysely'

import type { AlertRuleTable, SecurityEventTable } from '../db/schema.ts'

export type AlertRule = Selectable<AlertRuleTable>
export type JudgedEvent = Pick<
  Selectable<SecurityEventTable>,
  'id' | 'at' | 'source' | 'kind' | 'severity' | 'device_id' | 'facts'
>

export const severities = ['info', 'warning', 'critical'] as const

/** What belongs to one alert, of one batch of events. */
export interface Gathered {
  rule: AlertRule
  key: string
  kind: string
  deviceId: string | null
  severity: JudgedEvent['severity']
  count: number
  firstAt: Date
  lastAt: Date
}

/** Whether a rule is about such an event, its groups aside. */
export function isAbout(rule: AlertRule, event: JudgedEvent): boolean {
  const { kinds, source, min_severity: least } = rule
  const isKind = kinds.endsWith('*')
    ? event.kind.startsWith(kinds.slice(0, -1))
    : event.kind === kinds
  const isGrave = severities.indexOf(event.severity) >= severities.indexOf(least)
  return rule.enabled && isKind && isGrave && (source === 'any' || source === event.source)
}

/**
 * What of a batch of events belongs together: by rule and kind, or by rule, kind and device. An event that stands for others which were left out
 * (`suppressed`) counts for them too.
 *
 * @param groupsOf groups that a device is a member of, among those of the rules
 */
export function gather(
  rules: readonly AlertRule[],
  events: readonly JudgedEvent[],
  groupsOf: ReadonlyMap<string, ReadonlySet<string>>,
): Gathered[] {
  const found = new Map<string, Gathered>()
  for (const event of events) {
    const { kind, severity, at, device_id: deviceId } = event
    const groups = groupsOf.get(deviceId ?? '')
    for (const rule of rules) {
      const isIn = rule.group_ids.every((id) => groups?.has(id) === true)
      if (!isIn || !isAbout(rule, event)) continue
      const key = rule.each === 'device' ? `${kind} ${deviceId ?? ''}` : kind
      const ofDevice = rule.each === 'device' ? deviceId : null
      const known = found.get(`${rule.id} ${key}`)
      const count = (known?.count ?? 0) + countOf(event)
      const base = { rule, key, kind, deviceId: ofDevice, count }
      found.set(`${rule.id} ${key}`, {
        ...base,
        severity: known ? graver(known.severity, severity) : severity,
        firstAt: known && known.firstAt < at ? known.firstAt : at,
        lastAt: known && known.lastAt > at ? known.lastAt : at,
      })
    }
  }
  return [...found.values()]
}

function countOf({ facts }: JudgedEvent): number {
  const suppressed =
    typeof facts === 'object' && facts !== null && 'suppressed' in facts ? facts.suppressed : 0
  return 1 + (typeof suppressed === 'number' && suppressed > 0 ? Math.floor(suppressed) : 0)
}

function graver<T extends JudgedEvent['severity']>(one: T, other: T): T {
  return severities.indexOf(one) >= severities.indexOf(other) ? one : other
}
