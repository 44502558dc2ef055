import type { OpenPhase } from '../../../server/db/open-phases.ts'
import { limits } from '../../../server/deployments/end.ts'
import { type DeploymentState, executedStates } from '../../../server/protocol/deployment.ts'
import { usualShare } from '../../../server/rollouts/abort-sequential.ts'
import { dueAfter } from '../../../server/rollouts/bounds-rate.ts'
import { offerHoldsMs, type Standing, slotStates } from '../../../server/rollouts/bounds-store.ts'
import { pacesOf, trim, usOf, type Wanted } from '../../../server/rollouts/bounds.ts'
import { bucketOf, phasesFor } from '../../../server/rollouts/bucket.ts'
import { decide } from '../../../server/rollouts/drive.ts'
import { metIn, type Progress, type StateCounts } from '../../../server/rollouts/progress.ts'
import type { Rollout } from '../../../server/rollouts/store.ts'
import type { RolloutBody } from '../../../server/rollouts/wire.ts'
import type { Commit, Engine, Given, Saying } from './engine.ts'

const rolloutId = '00000000-0000-7000-8000-000000000001'
const start = Date.parse('2026-11-26T10:00:00Z')
const limitsEveryS = 300

interface Row {
  phase: number
  state: DeploymentState
  changedMs: number
}

/**
 * The engine's decisions without its database: who is in a phase, what the bounds let through, when a phase opens and when a
 * rollout stops are the product's own functions; rows and counts are kept here. For fleets too large, and seeds too many,
 * to be played against PostgreSQL; a test holds this and the real engine together.
 */
export class ModelEngine implements Engine {
  readonly #ids: readonly string[]
  readonly #buckets: readonly number[]
  readonly #body: RolloutBody
  readonly #rows = new Map<number, Row>()
  readonly #counts = new Map<number, StateCounts>()
  readonly #admitted: number[]
  readonly #connected = new Set<number>()
  readonly #faults: string[] = []
  #now = new Date(start)
  #state: 'running' | 'paused' | 'failed' | 'completed' = 'running'
  #phase = 1
  #rateUs: number | null = null

  constructor(ids: readonly string[], seed: Buffer, body: RolloutBody) {
    this.#ids = ids
    this.#buckets = ids.map((id) => bucketOf(seed, id))
    this.#body = body
    this.#admitted = body.phases.map(() => 0)
  }

  setTime(nowS: number): void {
    this.#now = new Date(start + nowS * 1_000)
  }

  setConnected(device: number, isConnected: boolean): void {
    if (isConnected) this.#connected.add(device)
    else this.#connected.delete(device)
  }

  async state(): Promise<string> {
    return this.#state
  }

  async inFlight(): Promise<number> {
    return this.#sum([...slotStates, 'offered'])
  }

  async meet(devices: readonly number[]): Promise<Given[]> {
    if (this.#state !== 'running') return []
    const phases = this.#openPhases()
    const wanted = devices.flatMap((device): Wanted[] => {
      const bucket = this.#buckets[device] ?? 1
      if (this.#rows.has(device)) return []
      const phaseNos = phasesFor({ bucket, seenAt: this.#now }, phases, this.#now)
      if (phaseNos.length === 0) return []
      const ids = { rolloutId, deviceId: String(device), releaseId: 'release', component: 'main' }
      return [{ ...ids, phaseNos, bucket, bounded: true }]
    })
    if (wanted.length === 0) return []
    const standing = this.#standing()
    const { admissions } = trim(wanted, new Map([[rolloutId, standing]]), undefined, this.#now)
    const { rate } = pacesOf(standing)
    if (rate && admissions.length > 0) {
      this.#rateUs = dueAfter(rate, this.#rateUs, usOf(this.#now), admissions.length)
    }
    return admissions.map(({ deviceId, phaseNo }) => {
      const device = Number(deviceId)
      this.#admitted[phaseNo - 1] = (this.#admitted[phaseNo - 1] ?? 0) + 1
      this.#rows.set(device, { phase: phaseNo, state: 'queued', changedMs: this.#now.getTime() })
      this.#count(phaseNo, 'queued', 1)
      return { device, deploymentId: deviceId }
    })
  }

  async say(sayings: readonly Saying[]): Promise<Commit[]> {
    const commits: Commit[] = []
    let failed = false
    for (const { device, say, commitNonce } of sayings) {
      const row = this.#rows.get(device)
      if (!row || say === 'hello') continue
      if (say === 'succeeded' && commitNonce !== String(device)) {
        this.#faults.push(`device ${device} has no proof`)
      }
      this.#move(row, say)
      failed ||= say === 'rolled_back'
      if (say === 'testing') commits.push({ device, commitNonce: String(device) })
    }
    if (failed) this.#drive()
    return commits
  }

  async turn(): Promise<Given[]> {
    if (this.#now.getTime() % (limitsEveryS * 1_000) === 0) this.#giveUp()
    this.#drive()
    return await this.meet([...this.#connected].filter((device) => !this.#rows.has(device)))
  }

  async faults(): Promise<string[]> {
    const kept = new Map<string, number>()
    const add = (key: string, n: number) => kept.set(key, (kept.get(key) ?? 0) + n)
    for (const [phase, counts] of this.#counts) {
      for (const [state, n] of Object.entries(counts)) add(`${phase} ${state}`, n)
    }
    for (const { phase, state } of this.#rows.values()) add(`${phase} ${state}`, -1)
    const off = [...kept].filter(([, n]) => n !== 0).map(([key, n]) => `count of ${key}: ${n}`)
    return [...this.#faults, ...off]
  }

  /** As the worker does: what says nothing for too long is lost. */
  #giveUp(): void {
    for (const row of this.#rows.values()) {
      const limit = limits[row.state]
      if (limit === undefined || this.#now.getTime() - row.changedMs <= limit) continue
      this.#move(row, 'lost')
    }
  }

  #drive(): void {
    if (this.#state !== 'running') return
    const decision = decide(this.#rollout(), this.#progress(), [], this.#now)
    if (decision?.action === 'advance') this.#phase++
    if (decision?.action === 'pause') this.#state = 'paused'
    if (decision?.action === 'fail') this.#state = 'failed'
    if (decision?.action === 'finish' && this.#rows.size === this.#ids.length) {
      this.#state = 'completed'
    }
  }

  #move(row: Row, state: DeploymentState): void {
    this.#count(row.phase, row.state, -1)
    this.#count(row.phase, state, 1)
    row.state = state
    row.changedMs = this.#now.getTime()
  }

  #count(phase: number, state: DeploymentState, n: number): void {
    const counts = this.#counts.get(phase) ?? {}
    counts[state] = (counts[state] ?? 0) + n
    this.#counts.set(phase, counts)
  }

  #sum(states: readonly DeploymentState[], phase?: number): number {
    let total = 0
    for (const [no, counts] of this.#counts) {
      if (phase !== undefined && no !== phase) continue
      for (const state of states) total += counts[state] ?? 0
    }
    return total
  }

  /** Young offers hold a slot; here an offer is taken up within a minute. */
  #standing(): Standing {
    if (offerHoldsMs < 60_000) throw new Error('an offer holds its slot for less than a minute')
    return {
      id: rolloutId,
      phase_no: this.#phase,
      priority: this.#body.priority ?? 500,
      pass_queue: false,
      is_security: false,
      created_at: new Date(start),
      max_in_flight: this.#body.maxInFlight ?? null,
      bytes_per_minute: null,
      size: 0,
      rate_us: this.#rateUs,
      bytes_us: null,
      phases: this.#openPhases().map(({ no, kind, count, admitted }) => {
        return { no, kind, count, admitted, rate: this.#body.phases[no - 1]?.rate ?? null }
      }),
      in_flight: this.#sum([...slotStates, 'offered']),
      succeeded: this.#sum(['succeeded'], this.#phase),
      all_in_flight: 0,
    }
  }

  #openPhases(): OpenPhase[] {
    return this.#body.phases.slice(0, this.#phase).map((phase, n) => ({
      no: n + 1,
      kind: phase.count === undefined ? 'percent' : 'count',
      percent: phase.percent ?? null,
      count: phase.count ?? null,
      admitted: this.#admitted[n] ?? 0,
      seen_within_s: null,
      in_cohort: false,
    }))
  }

  /** What `decide` reads of it. */
  #rollout(): Rollout {
    return {
      id: rolloutId,
      phase_no: this.#phase,
      abort_rules: this.#body.abort ?? [],
      base_counts: {},
      usual_failed: usualShare({ failed: 0, executed: 0 }),
    } as Pick<
      Rollout,
      'id' | 'phase_no' | 'abort_rules' | 'base_counts' | 'usual_failed'
    > as Rollout
  }

  #progress(): Progress {
    const all: StateCounts = {}
    const phases = this.#body.phases.map((phase, n) => {
      const counts = this.#counts.get(n + 1) ?? {}
      for (const [state, count] of Object.entries(counts) as [DeploymentState, number][]) {
        all[state] = (all[state] ?? 0) + count
      }
      return {
        no: n + 1,
        percent: phase.percent ?? null,
        count: phase.count ?? null,
        cohortId: null,
        seenWithinS: null,
        rate: phase.rate ?? null,
        admitted: this.#admitted[n] ?? 0,
        gate: {
          successPercent: phase.success.percent,
          minExecuted: phase.success.minExecuted,
          hold: phase.hold,
        },
        openedAt: new Date(start),
        counts,
        verdicts: verdictsOf(counts),
        facts: { openedAt: null, metAt: null, heldAt: null, met: metIn(counts), putOff: 0 },
      }
    })
    return { phases, counts: all, all: verdictsOf(all) }
  }
}

function verdictsOf(counts: StateCounts) {
  const succeeded = counts.succeeded ?? 0
  const executed = executedStates.reduce((total, state) => total + (counts[state] ?? 0), 0)
  return { succeeded, failed: executed - succeeded }
}
