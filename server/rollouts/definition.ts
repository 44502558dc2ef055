import { createHash } from 'node:crypto'

import type { RolloutPhaseTable, RolloutTable } from '../db/schema.ts'
import type { Phase, Rollout } from './store.ts'

/**
 * Which columns say what a rollout does, and so belong to what people approve: true. What the engine or its life writes is
 * false. A new column does not compile until it is decided here.
 */
export const definingColumns = {
  id: true,
  name: true,
  release_id: true,
  group_id: true,
  seed: true,
  policy: true,
  kind: true,
  priority: true,
  pass_queue: true,
  max_in_flight: true,
  bytes_per_minute: true,
  query: true,
  abort_rules: true,
  install_window: true,
  ignore_windows: true,
  approvals_needed: true,
  start_at: true,
  parent_id: true,
  limits: true,
  certificate_issuer: true,
  certificate_before: true,
  state: false,
  phase_no: false,
  reason: false,
  base_succeeded: false,
  base_failed: false,
  base_counts: false,
  usual_failed: false,
  definition_hash: false,
  edited_by: false,
  // Follows from the query.
  names_groups: false,
  needed_ms: false,
  rate_at: false,
  bytes_at: false,
  created_by: false,
  created_at: false,
  changed_at: false,
  started_at: false,
  ended_at: false,
} as const satisfies Record<keyof RolloutTable, boolean>

export const definingPhaseColumns = {
  no: true,
  kind: true,
  percent: true,
  count: true,
  cohort_id: true,
  seen_within_s: true,
  success_percent: true,
  min_executed: true,
  soak_s: true,
  max_put_off: true,
  within_s: true,
  rate: true,
  hold: true,
  rollout_id: false,
  opened_at: false,
  admitted: false,
  met_at: false,
  held_at: false,
} as const satisfies Record<keyof RolloutPhaseTable, boolean>

/** A rollout's rows, as they are stored. */
export interface Stored {
  rollout: Rollout
  phases: readonly Phase[]
  companions: readonly { release_id: string }[]
}

/** What a rollout does, as JSON: names in camelCase, instants in RFC 3339, bytes in hex. */
export interface Definition {
  [field: string]: unknown
  phases: Record<string, unknown>[]
}

export function definitionOf({ rollout, phases, companions }: Stored): Definition {
  return {
    ...definingFields(rollout, definingColumns),
    with: companions.map(({ release_id }) => release_id).toSorted(),
    phases: phases
      .toSorted((a, b) => a.no - b.no)
      .map((phase) => definingFields(phase, definingPhaseColumns)),
  }
}

/** SHA-256 of the canonical form (RFC 8785) of a definition, 32 bytes: what an approval is bound to (rollouts.md §9). */
export function definitionHash(stored: Stored): Buffer {
  return createHash('sha256')
    .update(canonicalJson(definitionOf(stored)))
    .digest()
}

/** RFC 8785: keys in the order of their UTF-16 units, numbers and strings as ECMAScript writes them. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      // Two keys are never equal, so this order is the only one.
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`)
    return `{${members.join(',')}}`
  }
  return JSON.stringify(value)
}

function definingFields(
  row: Readonly<Record<string, unknown>>,
  columns: Readonly<Record<string, boolean>>,
): Record<string, unknown> {
  const defining = Object.entries(columns).filter(([, isDefining]) => isDefining)
  return Object.fromEntries(defining.map(([column]) => [camelCase(column), plain(row[column])]))
}

function plain(value: unknown): unknown {
  if (value instanceof Date) return value.toISOString()
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  return value ?? null
}

function camelCase(column: string): string {
  return column.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase())
}
