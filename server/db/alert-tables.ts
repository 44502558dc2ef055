import type { Generated } from 'kysely'

import type { AlertState, ChannelKind, MailState } from '../alerts/state.ts'
import type { SecurityEventTable } from './operator-tables.ts'

/** What security events are worth a person's attention: migration 0047. */

type Severity = SecurityEventTable['severity']

export interface AlertChannelTable {
  id: string
  name: string
  kind: ChannelKind
  endpoint_id: string | null
  recipients: string[] | null
  held: Generated<number>
  created_by: string
  created_at: Date
}

export interface AlertRuleTable {
  id: string
  name: string
  kinds: string
  source: 'server' | 'device' | 'any'
  min_severity: Severity
  group_ids: string[]
  threshold: number
  window_seconds: number
  quiet_seconds: number
  each: 'kind' | 'device'
  channel_ids: string[]
  enabled: boolean
  created_by: string
  created_at: Date
  changed_at: Date
  /** Of what people write in it (server/version.ts). */
  version: Generated<number>
}

export interface AlertTable {
  id: string
  rule_id: string
  key: string
  kind: string
  severity: Severity
  device_id: string | null
  state: AlertState
  count: number
  first_at: Date
  last_at: Date
  told_at: Date | null
  note: string | null
  acknowledged_by: string | null
  acknowledged_at: Date | null
  resolved_by: string | null
  resolved_at: Date | null
}

export interface AlertMailTable {
  id: string
  channel_id: string
  alert_id: string | null
  recipients: string[]
  subject: string
  body: string
  state: MailState
  attempts: Generated<number>
  due_at: Date
  last_error: string | null
  created_at: Date
  ended_at: Date | null
}
