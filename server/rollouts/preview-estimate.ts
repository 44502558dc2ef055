import { perMinuteOf } from './bounds-rate.ts'
import type { Rate } from './bounds-wire.ts'
import type { Contact } from './preview-store.ts'
import type { PreviewView } from './preview-wire.ts'

export interface EstimatedPhase {
  no: number
  /** Devices that it adds, by when they come. */
  devices: Readonly<Record<Contact, number>>
  rate: Rate | null
  minExecuted: number
  soakMs: number
  hold: boolean
}

export interface EstimateQuestion {
  phases: readonly EstimatedPhase[]
  maxInFlight: number | null
  bytesPerMinute: number | null
  /** Bytes of what one device gets. */
  size: number
  /** From the admission to the end. */
  durationMs: number
  /** May devices begin so many milliseconds after the start? */
  isOpen: (afterMs: number) => boolean
}

const stepMs = 600_000
const stepsPerHour = 6
const hourMs = 3_600_000
const longestSteps = 90 * 24 * stepsPerHour
const shownHours = 168
const dayMs = 86_400_000
/** Over how long devices come after their phase opened. */
const spreadMs: Readonly<Record<Contact, number>> = {
  now: stepMs,
  day: dayMs,
  week: 7 * dayMs,
  never: Infinity,
}
const comes = ['now', 'day', 'week'] as const

interface Running {
  openAt: number
  came: number
  admitted: number
  done: number
  metAt: number | null
}

/**
 * Plays a rollout through, ten minutes at a time, with devices as a flow (rollouts.md §10). Everybody succeeds: what it costs
 * when they do not is what the rules are for. Pure, and bounded by 90 days.
 */
export function estimate(question: EstimateQuestion): PreviewView['estimate'] {
  const { phases, size } = question
  const reachable = sum(phases.map(reachableIn))
  const hours: number[] = []
  const at: { half: number | null; most: number | null } = { half: null, most: null }
  const running: Running[] = []
  const inFlight: { until: number; phase: number; n: number }[] = []
  for (let step = 0; step < longestSteps && at.most === null; step++) {
    const now = step * stepMs
    openNext(phases, running, now)
    land(inFlight, running, now)
    const admitted = admitStep(question, running, inFlight, now)
    const hour = Math.floor(step / stepsPerHour)
    hours[hour] = (hours[hour] ?? 0) + admitted
    const done = sum(running.map((one) => one.done))
    if (reachable > 0 && done >= reachable * 0.5) at.half ??= now / hourMs
    if (reachable > 0 && done >= reachable * 0.95) at.most = now / hourMs
    if (isStuck(phases, running, inFlight, now)) break
  }
  const bytes = Math.round(sum(hours) * size)
  return {
    reachable: Math.round(reachable),
    halfDoneHours: at.half === null ? null : round(at.half),
    mostDoneHours: at.most === null ? null : round(at.most),
    admissionsPerHour: hours.slice(0, shownHours).map((n) => Math.round(n)),
    bytes,
    bytesPerHour: Math.round(hours.reduce((most, n) => Math.max(most, n), 0) * size),
    waitsForPerson: phases.slice(0, -1).flatMap(({ hold, no }) => (hold ? [no] : [])),
    stopsAt: phases.slice(0, -1).find((one) => reachableIn(one) < one.minExecuted)?.no ?? null,
  }
}

function reachableIn({ devices }: EstimatedPhase): number {
  return devices.now + devices.day + devices.week
}

/** The first at the start, each other when the gate of the one before it is met and has soaked. */
function openNext(phases: readonly EstimatedPhase[], running: Running[], now: number): void {
  const last = running.at(-1)
  const phase = phases[running.length - 1]
  if (last && phase) {
    if (last.done < Math.max(1, phase.minExecuted) - 1e-6) return
    last.metAt ??= now
    if (now < last.metAt + phase.soakMs) return
  }
  if (running.length < phases.length) {
    running.push({ openAt: now, came: 0, admitted: 0, done: 0, metAt: null })
  }
}

function land(
  inFlight: { until: number; phase: number; n: number }[],
  running: readonly Running[],
  now: number,
): void {
  while ((inFlight[0]?.until ?? Infinity) <= now) {
    const batch = inFlight.shift()
    const phase = batch && running[batch.phase]
    if (phase) phase.done += batch.n
  }
}

function admitStep(
  question: EstimateQuestion,
  running: readonly Running[],
  inFlight: { until: number; phase: number; n: number }[],
  now: number,
): number {
  let room = question.isOpen(now) ? roomIn(question, running, inFlight) : 0
  let total = 0
  for (const [index, one] of running.entries()) {
    const phase = question.phases[index]
    if (!phase) continue
    const age = now - one.openAt + stepMs
    one.came = sum(comes.map((when) => phase.devices[when] * Math.min(1, age / spreadMs[when])))
    const n = Math.min(room, one.came - one.admitted)
    if (n <= 0) continue
    one.admitted += n
    room -= n
    total += n
    inFlight.push({ until: now + question.durationMs, phase: index, n })
  }
  return total
}

function roomIn(
  { phases, maxInFlight, bytesPerMinute, size }: EstimateQuestion,
  running: readonly Running[],
  inFlight: readonly { n: number }[],
): number {
  const minutes = stepMs / 60_000
  const index = running.length - 1
  const [phase, open] = [phases[index], running[index]]
  const perMinute =
    phase?.rate && open
      ? perMinuteOf(phase.rate, { admitted: open.admitted, succeeded: open.done })
      : Infinity
  const bySize = bytesPerMinute === null ? Infinity : bytesPerMinute / Math.max(1, size)
  const bySlots = maxInFlight === null ? Infinity : maxInFlight - sum(inFlight.map(({ n }) => n))
  return Math.max(0, Math.min(perMinute * minutes, bySize * minutes, bySlots))
}

/** Everybody who comes came and is done, and the gate of the open phase is not met by that. */
function isStuck(
  phases: readonly EstimatedPhase[],
  running: readonly Running[],
  inFlight: readonly unknown[],
  now: number,
): boolean {
  const [open, phase] = [running.at(-1), phases[running.length - 1]]
  if (!open || !phase || inFlight.length > 0 || now - open.openAt < spreadMs.week) return false
  const isAll = open.admitted >= reachableIn(phase) - 1e-6
  return isAll && open.done < Math.max(1, phase.minExecuted) - 1e-6
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0)
}

function round(hours: number): number {
  return Math.round(hours * 10) / 10
}

/**
 * What so many successes and no failure say about the share that would fail, one-sided at 95 %: with n devices it is below
 * 1 − 0.05^(1/n).
 */
export function saysOf(executed: number): string {
  const share = (1 - 0.05 ** (1 / Math.max(1, executed))) * 100
  const shown = share >= 10 ? Math.ceil(share) : Math.ceil(share * 10) / 10
  return `0 failures of ${executed} says below ${shown} % at 95 %`
}
