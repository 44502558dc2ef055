import type { Admission } from '../deployments/admit.ts'
import { dueAfter, openAt, type Pace, paceOf, paceOfBytes, perMinuteOf } from './bounds-rate.ts'
import type { Standing } from './bounds-store.ts'
import { Rate } from './bounds-wire.ts'

/** A device that is to get a deployment, if the rollout's bounds allow it. */
export interface Wanted extends Omit<Admission, 'phaseNo'> {
  /** The open phases that would take it; it belongs to the first that has room. */
  phaseNos: readonly number[]
  bucket: number
  /** Has the rollout anything that must be counted? A hint: what counts is read again under the lock. */
  bounded: boolean
  /** A further step or try of a device that the phase has taken already: it goes first, and is no new admission of its phase. */
  continues?: true
}

export interface Withheld {
  rolloutId: string
  deviceId: string
  component: string
  reason: 'rate' | 'no-slot' | 'not-in-phase'
  /** When it may be otherwise, where a rate tells. */
  until: Date | null
}

/** Over all rollouts. */
export interface Overall {
  maxInFlight: number
  inFlight: number
}

export interface Trimmed {
  admissions: (Admission & { continues: boolean })[]
  withheld: Withheld[]
}

/**
 * Which of the wanted fit into the bounds as they stand, in order: rollouts that pass the queue, higher priority, security,
 * the older; of one rollout who goes on before who begins, then by bucket (rollouts.md §6). Rollouts that do not stand (are not
 * running any more) admit nobody.
 */
export function trim(
  wanted: readonly Wanted[],
  standings: ReadonlyMap<string, Standing>,
  overall: Overall | undefined,
  now: Date,
): Trimmed {
  const result: Trimmed = { admissions: [], withheld: [] }
  const rooms = new Map<string, Room>()
  const all = overall && { ...overall }
  for (const one of inOrder(wanted, standings)) {
    const standing = standings.get(one.rolloutId)
    if (!standing) continue
    const room = rooms.get(standing.id) ?? roomOf(standing, now)
    rooms.set(standing.id, room)
    const refusal = hasSlot(room, standing, all) ? take(room, one, now) : noSlot
    if (typeof refusal === 'number') {
      const { phaseNos: _, bucket: __, bounded: ___, continues = false, ...admission } = one
      result.admissions.push({ ...admission, phaseNo: refusal, continues })
      room.inFlight++
      if (all) all.inFlight++
    } else {
      const { rolloutId, deviceId, component } = one
      result.withheld.push({ rolloutId, deviceId, component, ...refusal })
    }
  }
  return result
}

function inOrder(
  wanted: readonly Wanted[],
  standings: ReadonlyMap<string, Standing>,
): readonly Wanted[] {
  return wanted.toSorted((a, b) => {
    const [one, other] = [standings.get(a.rolloutId), standings.get(b.rolloutId)]
    if (!one || !other) return 0
    return one === other
      ? Number(b.continues ?? false) - Number(a.continues ?? false) || a.bucket - b.bucket
      : precedence(one, other)
  })
}

/** Below 0 when `a` goes first. */
export function precedence(a: Standing, b: Standing): number {
  return (
    Number(b.pass_queue) - Number(a.pass_queue) ||
    b.priority - a.priority ||
    Number(b.is_security) - Number(a.is_security) ||
    a.created_at.getTime() - b.created_at.getTime() ||
    (a.id < b.id ? -1 : 1)
  )
}

/** What is left of a rollout's bounds while admissions are counted out. */
interface Room {
  inFlight: number
  phases: { no: number; left: number }[]
  paces: { pace: Pace; due: number | null }[]
}

function roomOf(standing: Standing, now: Date): Room {
  const { rate_us, bytes_us } = standing
  const { rate, bytes } = pacesOf(standing)
  return {
    inFlight: standing.in_flight,
    phases: standing.phases.map(({ no, kind, count, admitted }) => ({
      no,
      left: kind === 'count' ? (count ?? 0) - admitted : Infinity,
    })),
    paces: [
      ...(rate ? [{ pace: rate, due: rate_us }] : []),
      ...(bytes ? [{ pace: bytes, due: bytes_us }] : []),
    ].map((one) => ({ ...one, due: dueAfter(one.pace, one.due, usOf(now), 0) })),
  }
}

/** The paces in force; of the phase that was opened last. Throws for a rate that this version cannot read: nobody is admitted then. */
export function pacesOf(standing: Standing): { rate?: Pace; bytes?: Pace } {
  const { phases, phase_no, succeeded, bytes_per_minute, size } = standing
  const open = phases.find((phase) => phase.no === phase_no)
  const rate = open && open.rate !== null ? Rate.parse(open.rate) : undefined
  return {
    ...(open && rate
      ? { rate: paceOf(perMinuteOf(rate, { admitted: open.admitted, succeeded })) }
      : {}),
    ...(bytes_per_minute === null ? {} : { bytes: paceOfBytes(bytes_per_minute, size) }),
  }
}

/** How many more a rollout could admit now, and when the next one, where a rate tells; over all rollouts as they stand. */
export function vacancies(
  standing: Standing,
  all: Overall | undefined,
  now: Date,
): { free: number; until: Date | null } {
  const room = roomOf(standing, now)
  const slots = Math.min(
    (standing.max_in_flight ?? Infinity) - room.inFlight,
    all ? all.maxInFlight - reserveFor(standing, all) - all.inFlight : Infinity,
  )
  const nowUs = usOf(now)
  const paced = room.paces.map(({ pace, due }) => {
    const opens = openAt(pace, due, nowUs)
    return {
      free: opens > nowUs ? 0 : Math.floor((nowUs - opens) / pace.everyUs) + 1,
      opens: opens > nowUs ? opens : opens + pace.everyUs,
    }
  })
  const free = Math.max(0, Math.min(slots, ...paced.map((one) => one.free)))
  if (slots <= 0 || paced.length === 0) return { free, until: null }
  const opens = Math.max(...paced.map((one) => one.opens))
  return { free, until: new Date(Math.ceil(opens / 1_000)) }
}

const noSlot = { reason: 'no-slot', until: null } as const

function hasSlot(room: Room, standing: Standing, all: Overall | undefined): boolean {
  if (room.inFlight >= (standing.max_in_flight ?? Infinity)) return false
  if (!all) return true
  return all.inFlight < all.maxInFlight - reserveFor(standing, all)
}

/** Kept free for what passes the queue; never all of a small number. */
function reserveFor(standing: Standing, { maxInFlight }: Overall): number {
  return standing.pass_queue ? 0 : Math.floor(maxInFlight / 10)
}

/** The phase that the device is counted in, or why not. */
function take(
  room: Room,
  { phaseNos, continues }: Wanted,
  now: Date,
): number | Pick<Withheld, 'reason' | 'until'> {
  const phase = phaseNos
    .map((no) => room.phases.find((one) => one.no === no))
    .find((one) => one && (continues === true || one.left > 0))
  if (!phase) return { reason: 'not-in-phase', until: null }
  const nowUs = usOf(now)
  const opens = Math.max(0, ...room.paces.map(({ pace, due }) => openAt(pace, due, nowUs)))
  if (opens > nowUs) return { reason: 'rate', until: new Date(Math.ceil(opens / 1_000)) }
  for (const one of room.paces) one.due = dueAfter(one.pace, one.due, nowUs, 1)
  if (continues !== true) phase.left--
  return phase.no
}

export function usOf(instant: Date): number {
  return instant.getTime() * 1_000
}
