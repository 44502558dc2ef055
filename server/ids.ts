import { randomUUID } from 'node:crypto'

/**
 * A new UUIDv7 (RFC 9562 §5.7): 48 bits of milliseconds, then random. Rows made together lie together in
 * an index, and a list in id order is a list in order of creation.
 */
export function newId(now: Date): string {
  // Node has random bytes for UUIDs ready; version 4 differs from 7 in what stands before its last 76 bits.
  return `${timeOf(now)}-7${randomUUID().slice(15)}`
}

/** 48 bits of milliseconds as a UUIDv7 begins. */
function timeOf(at: Date): string {
  const hex = at.getTime().toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}`
}

export const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** The lowest UUIDv7 of a moment: every id made later is greater. */
export function firstIdOf(at: Date): string {
  return `${timeOf(at)}-7000-8000-000000000000`
}
