import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { type Admission, admit } from '../deployments/admit.ts'
import { dueAfter } from './bounds-rate.ts'
import { bookAdmissions, holdRunning, type Standing, standingsOf } from './bounds-store.ts'
import {
  type Overall,
  pacesOf,
  trim,
  type Trimmed,
  usOf,
  type Wanted,
  type Withheld,
} from './bounds.ts'

type Deps = Pick<Context, 'config' | 'db' | 'clock' | 'metrics'>

export interface Claim {
  /** Devices that got a deployment now. */
  met: string[]
  /** Would have got one, and did not for a bound of the rollout or of all. */
  withheld: Withheld[]
}

/** Returns the devices that got a deployment. See `claimInDetail`. */
export async function claimAdmissions(ctx: Deps, wanted: readonly Wanted[]): Promise<string[]> {
  return (await claimInDetail(ctx, wanted)).met
}

/**
 * Writes the deployments of those that are wanted and that stand once the rollouts are held: still running, the phase open, and
 * within every bound, exactly, however many processes do this at once. Where nothing is bounded, processes do not wait for each
 * other. A full rollout costs whoever asks one read and no lock.
 */
export async function claimInDetail(ctx: Deps, wanted: readonly Wanted[]): Promise<Claim> {
  if (wanted.length === 0) return { met: [], withheld: [] }
  const { maxInFlight } = ctx.config
  const now = ctx.clock.now()
  const rolloutIds = [...new Set(wanted.map((one) => one.rolloutId))]
  const isBounded = maxInFlight !== undefined || wanted.some((one) => one.bounded)
  if (isBounded) {
    const { admissions, withheld } = await roomFor(ctx, wanted)
    if (admissions.length === 0) return { met: [], withheld }
  }
  const { rows, withheld } = await inTransaction(ctx.db, async (tx) => {
    const lock = { alone: isBounded, all: maxInFlight !== undefined }
    const running = await holdRunning(tx, rolloutIds, lock)
    if (isBounded) return await admitWithin(tx, wanted, [...running.keys()], { now, maxInFlight })
    // A rollout that was paused since it was read admits nobody; one that was bounded since then is counted out the next time.
    const admissions = wanted.flatMap((one) => {
      const rollout = running.get(one.rolloutId)
      if (!rollout?.is_unbounded) return []
      return admissionOf(one, rollout.phase_no)
    })
    return { rows: await admit(tx, admissions, now), withheld: [] }
  })
  ctx.metrics.deploymentsMoved.inc({ state: 'queued' }, rows.length)
  return { met: [...new Set(rows.map((row) => row.device_id))], withheld }
}

/** What the bounds would let through now, and what not and why. Holds nothing, so a moment later it may be otherwise. */
export async function roomFor(
  ctx: Pick<Context, 'config' | 'db' | 'clock'>,
  wanted: readonly Wanted[],
): Promise<Trimmed> {
  const now = ctx.clock.now()
  const { maxInFlight } = ctx.config
  const rolloutIds = [...new Set(wanted.map((one) => one.rolloutId))]
  const standings = await standingsOf(ctx.db, rolloutIds, { now, maxInFlight })
  return trim(wanted, standings, overall(standings, maxInFlight), now)
}

function admissionOf(one: Wanted, openNo: number): Admission[] {
  const { phaseNos, bucket: _, bounded: __, continues: ___, ...rest } = one
  const [phaseNo] = phaseNos
  return phaseNo !== undefined && phaseNo <= openNo ? [{ ...rest, phaseNo }] : []
}

/** The rollouts are held alone. */
async function admitWithin(
  tx: Tx,
  wanted: readonly Wanted[],
  rolloutIds: readonly string[],
  { now, maxInFlight }: { now: Date; maxInFlight: number | undefined },
) {
  const standings = await standingsOf(tx, rolloutIds, { now, maxInFlight })
  const trimmed = trim(wanted, standings, overall(standings, maxInFlight), now)
  const rows = await admit(tx, trimmed.admissions, now)
  if (rows.length > 0) await bookAdmissions(tx, bookingsOf(trimmed, rows, standings, now))
  return { rows, withheld: trimmed.withheld }
}

function overall(
  standings: ReadonlyMap<string, Standing>,
  maxInFlight: number | undefined,
): Overall | undefined {
  if (maxInFlight === undefined) return undefined
  const [first] = standings.values()
  return { maxInFlight, inFlight: first?.all_in_flight ?? maxInFlight }
}

/** By the rows that were written: a device that had its deployment already takes nothing. */
function bookingsOf(
  { admissions }: Trimmed,
  rows: readonly { rollout_id: string; device_id: string; component: string; phase_no: number }[],
  standings: ReadonlyMap<string, Standing>,
  now: Date,
) {
  const key = (...parts: string[]) => parts.join(' ')
  const continuing = new Set(
    admissions
      .filter((one) => one.continues)
      .map((one) => key(one.rolloutId, one.deviceId, one.component)),
  )
  return [...Map.groupBy(rows, (row) => row.rollout_id)].flatMap(([rolloutId, own]) => {
    const standing = standings.get(rolloutId)
    if (!standing) return []
    const { rate, bytes } = pacesOf(standing)
    const phases = new Map<number, number>()
    for (const { phase_no, device_id, component } of own) {
      if (continuing.has(key(rolloutId, device_id, component))) continue
      phases.set(phase_no, (phases.get(phase_no) ?? 0) + 1)
    }
    const nowUs = usOf(now)
    return {
      rolloutId,
      rateUs: rate ? dueAfter(rate, standing.rate_us, nowUs, own.length) : null,
      bytesUs: bytes ? dueAfter(bytes, standing.bytes_us, nowUs, own.length) : null,
      phases,
    }
  })
}
