import type { Generated, GeneratedAlways } from 'kysely'

import type { DeliveryState, DisabledReason, EndpointState } from '../webhooks/state.ts'

/** Events for others, and the webhooks that they go to: migration 0045. */

export interface WebhookEndpointTable {
  id: string
  url: string
  description: string
  types: string[]
  group_ids: string[]
  state: EndpointState
  disabled_because: DisabledReason | null
  secret: Buffer
  previous_secret: Buffer | null
  previous_until: Date | null
  failures: Generated<number>
  failing_since: Date | null
  retry_at: Date | null
  missed: Generated<number>
  missed_from: Date | null
  missed_until: Date | null
  created_by: string
  created_at: Date
  changed_at: Date
  /** Of what people write in it (server/version.ts). */
  version: Generated<number>
}

export interface OutboxEventTable {
  seq: GeneratedAlways<number>
  id: string
  at: Date
  type: string
  device_id: string | null
  subject: string
  ordered_by: string
  data: unknown
  endpoint_id: string | null
  relayed_at: Date | null
}

export interface WebhookDeliveryTable {
  id: string
  endpoint_id: string
  event_id: string
  seq: number
  ordered_by: string
  state: DeliveryState
  attempts: Generated<number>
  due_at: Date
  last_status: number | null
  last_error: string | null
  created_at: Date
  ended_at: Date | null
}
