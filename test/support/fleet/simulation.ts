import { stepsOf, type Step, type Traits } from './device.ts'
import type { Engine, Given, Saying } from './engine.ts'
import type { SeededRandom } from './random.ts'

/** Things that happen in the same ten seconds reach the server together, as the broker groups them. */
const tickS = 10

type Happening =
  | { kind: 'contact'; device: number }
  | { kind: 'say'; device: number; step: Step; rest: readonly Step[] }
  | { kind: 'prove'; device: number; commitNonce: string }

interface Open {
  deploymentId: string
  /** Reports so far. */
  said: number
}

export interface SimulationOptions {
  /** How often the workers have their turn. */
  turnEveryS?: number | undefined
  /** Bounds that must never be exceeded; absent ones are not looked at. */
  maxInFlight?: number | undefined
  perMinute?: number | undefined
}

/**
 * A fleet in virtual time: devices, network and the passing of time are played, the decisions are the engine's. The same seed
 * plays the same devices.
 */
export class FleetSimulation {
  readonly traits: readonly Traits[]
  /** What must never be, in words; empty when all is well. */
  readonly broken: string[] = []
  /** Virtual seconds since the start. */
  nowS = 0
  admitted = 0
  installed = 0
  mostInFlight = 0
  mostInAMinute = 0
  readonly #engine: Engine
  readonly #random: SeededRandom
  readonly #options: SimulationOptions
  readonly #reachable: number
  readonly #ticks = new Map<number, Happening[]>()
  readonly #open = new Map<number, Open>()
  readonly #has = new Set<number>()
  #admissions: number[] = []

  constructor(
    engine: Engine,
    traits: readonly Traits[],
    random: SeededRandom,
    options: SimulationOptions = {},
  ) {
    this.#engine = engine
    this.traits = traits
    this.#random = random
    this.#options = options
    this.#reachable = traits.filter(({ isGone, goesSilent }) => !isGone && !goesSilent).length
    for (const [device, { isGone, pollS }] of traits.entries()) {
      if (isGone) continue
      if (pollS === 0) engine.setConnected(device, true)
      else this.#plan(random.between(1, pollS), { kind: 'contact', device })
    }
  }

  /** Of the devices that are ever heard of and do not die of any update, the share that runs the image. */
  get reached(): number {
    return this.installed / this.#reachable
  }

  /** Until the rollout is over, paused or `isEnough`, or `limitS` have passed. Returns its state. */
  async run(
    limitS: number,
    isEnough: () => boolean = () => false,
    onHour: (line: string) => void = () => {},
  ): Promise<string> {
    let state = await this.#engine.state()
    for (; this.nowS < limitS && state === 'running' && !isEnough(); this.nowS += tickS) {
      // Only a turn of the workers, or a failure that was just told, moves the rollout.
      if (await this.#tick()) state = await this.#engine.state()
      if (this.nowS % 3_600 === 0) {
        onHour(`${this.nowS / 3_600} h: ${this.admitted} admitted, ${this.installed} installed`)
      }
    }
    return state
  }

  /** Lets what was begun come to its end, whatever became of the rollout. */
  async settle(limitS: number): Promise<void> {
    const end = this.nowS + limitS
    for (; this.nowS < end && this.#open.size > 0; this.nowS += tickS) await this.#tick()
  }

  /** Says whether anything happened. */
  async #tick(): Promise<boolean> {
    const due = this.#ticks.get(this.nowS) ?? []
    const isTurn = this.nowS % (this.#options.turnEveryS ?? 30) === 0
    if (due.length === 0 && !isTurn) return false
    this.#ticks.delete(this.nowS)
    this.#engine.setTime(this.nowS)
    await this.#contacts(due)
    await this.#sayings(due)
    if (isTurn) this.#begin(await this.#engine.turn())
    await this.#look()
    return true
  }

  async #contacts(due: readonly Happening[]): Promise<void> {
    const devices: number[] = []
    for (const { kind, device } of due) {
      const traits = this.traits[device]
      if (kind !== 'contact' || !traits || this.#open.has(device)) continue
      devices.push(device)
      // Some do not come for a day now and then.
      const spellS = this.#random.isOneOf(0.002) ? this.#random.between(3_600, 86_400) : 0
      const everyS = this.#has.has(device) ? 86_400 : traits.pollS
      this.#plan(everyS + spellS, { kind: 'contact', device })
    }
    if (devices.length > 0) this.#begin(await this.#engine.meet(devices))
  }

  #begin(given: readonly Given[]): void {
    // In one order, whatever the engine's: each draws what it does from here on.
    for (const { device, deploymentId } of given.toSorted((a, b) => a.device - b.device)) {
      const traits = this.traits[device]
      if (!traits || this.#open.get(device)?.deploymentId === deploymentId) continue
      if (this.#has.has(device)) this.broken.push(`${traits.id} was given the release again`)
      if (this.#open.has(device)) this.broken.push(`${traits.id} was given a second deployment`)
      this.admitted++
      this.#admissions.push(this.nowS)
      this.#open.set(device, { deploymentId, said: 0 })
      this.#engine.setConnected(device, true)
      this.#planStep(device, stepsOf(this.#random, traits))
    }
  }

  #planStep(device: number, [step, ...rest]: readonly Step[]): void {
    if (step) this.#plan(step.afterS, { kind: 'say', device, step, rest })
    else if (this.traits[device]?.goesSilent) this.#end(device)
  }

  async #sayings(due: readonly Happening[]): Promise<void> {
    const sayings: Saying[] = []
    for (const one of due) {
      const { device } = one
      const open = this.#open.get(device)
      if (one.kind === 'contact' || !open) continue
      const { deploymentId } = open
      const no = open.said++
      if (one.kind === 'prove') {
        const { commitNonce } = one
        sayings.push({ device, deploymentId, no, say: 'succeeded', commitNonce })
        this.#has.add(device)
        this.installed++
        this.#end(device)
        continue
      }
      sayings.push({ device, deploymentId, no, say: one.step.say })
      if (one.step.say === 'rolled_back') this.#end(device)
      else this.#planStep(device, one.rest)
    }
    if (sayings.length === 0) return
    const commits = await this.#engine.say(sayings)
    for (const { device, commitNonce } of commits.toSorted((a, b) => a.device - b.device)) {
      if (!this.#open.has(device)) continue
      this.#plan(this.#random.between(5, 60), { kind: 'prove', device, commitNonce })
    }
  }

  #end(device: number): void {
    this.#open.delete(device)
    const traits = this.traits[device]
    if (!traits || traits.goesSilent) {
      this.#engine.setConnected(device, false)
    } else if (traits.pollS > 0) {
      this.#engine.setConnected(device, false)
      // Whoever has it still comes, and must be given nothing.
      this.#plan(traits.pollS, { kind: 'contact', device })
    }
  }

  #plan(inS: number, one: Happening): void {
    const at = Math.max(Math.ceil((this.nowS + inS) / tickS) * tickS, this.nowS + tickS)
    const due = this.#ticks.get(at)
    if (due) due.push(one)
    else this.#ticks.set(at, [one])
  }

  /** The bounds, after everything that happened at this instant. */
  async #look(): Promise<void> {
    const { maxInFlight = Infinity, perMinute = Infinity } = this.#options
    const from = this.#admissions.findIndex((at) => at > this.nowS - 60)
    this.#admissions = from < 0 ? [] : this.#admissions.slice(from)
    const inAMinute = this.#admissions.length
    const inFlight = await this.#engine.inFlight()
    this.mostInAMinute = Math.max(this.mostInAMinute, inAMinute)
    this.mostInFlight = Math.max(this.mostInFlight, inFlight)
    if (inAMinute > perMinute) this.broken.push(`${inAMinute} in a minute at ${this.nowS} s`)
    if (inFlight > maxInFlight) this.broken.push(`${inFlight} in flight at ${this.nowS} s`)
  }
}
