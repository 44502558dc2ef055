import { RolloutBody } from '../../../server/rollouts/wire.ts'
import type { RolloutWorld } from '../rollout-world.ts'
import { givenTraits, usualFleet, type FleetPlan } from './device.ts'
import type { Engine } from './engine.ts'
import { ModelEngine } from './model-engine.ts'
import { SeededRandom } from './random.ts'
import { FleetSimulation } from './simulation.ts'
import { givenStage, rolloutSeedOf, startEngine } from './stage.ts'

export interface Play {
  seed: number
  devices: number
  /** `good`: one in a thousand falls back, as any image. `failing`: three in a hundred. */
  image: 'good' | 'failing'
  turnEveryS?: number
  onHour?: ((line: string) => void) | undefined
}

export interface Played extends Play {
  state: string
  hours: number
  admitted: number
  reached: number
  mostInFlight: number
  mostInAMinute: number
  /** What must never be; empty for a seed that passed. */
  broken: string[]
  /** By the clock of the wall. */
  seconds: number
}

const longestS = 5 * 86_400
/** Everything that was begun ends in this, or is given up by the engine. */
const settleS = 2 * 86_400
/** No fewer devices can tell an image that fails on three in a hundred from a good one. */
const leastToTell = 900

/**
 * The same plan for both images: whoever makes it does not know which one it is. Of an image that fails on three in a hundred no
 * more than 4 of 700 devices fail once in some 165,000 times; of one that fails on one in a thousand more than 5 of 784 do once in
 * some 6,000.
 */
export function definitionFor(devices: number) {
  const perMinute = Math.max(30, Math.round(devices / 100))
  const rate = { perMinute }
  const maxInFlight = Math.max(60, Math.round(devices / 50))
  const second = Math.min(99, Math.round((leastToTell / devices) * 100_000) / 1_000)
  const most = (n: number, percent: number) => {
    return Math.max(1, Math.min(n, Math.floor((devices * percent) / 100)))
  }
  const definition = {
    phases: [
      { percent: second / 9, success: { percent: 90, minExecuted: most(40, second / 20) }, rate },
      { percent: second, success: { percent: 99.3, minExecuted: most(700, second / 1.35) }, rate },
      ...(second < 10 ? [{ percent: 10, success: { percent: 99, minExecuted: 1_000 }, rate }] : []),
      { percent: 100, rate },
    ].map((phase) => ({ ...phase, percent: Math.round(phase.percent * 1_000) / 1_000 })),
    maxInFlight,
  }
  return { definition, perMinute, maxInFlight }
}

export function planFor({ seed, devices, image }: Play): FleetPlan {
  return { ...usualFleet, seed, devices, failing: image === 'good' ? 0.001 : 0.03 }
}

/** Against the product and its database. */
export async function playReal(world: RolloutWorld, options: Play): Promise<Played> {
  const { definition } = definitionFor(options.devices)
  const stage = await givenStage(world, planFor(options), definition)
  const engine = await startEngine(world, stage)
  return await judged(options, engine, stage)
}

/** Against its decisions alone. */
export async function playModel(options: Play): Promise<Played> {
  const { definition } = definitionFor(options.devices)
  const random = new SeededRandom(options.seed)
  const traits = givenTraits(random, planFor(options))
  const id = '00000000-0000-7000-8000-000000000001'
  const body = RolloutBody.parse({ name: 'Model', releaseId: id, groupId: id, ...definition })
  const ids = traits.map((one) => one.id)
  const engine = new ModelEngine(ids, rolloutSeedOf(options.seed), body)
  return await judged(options, engine, { traits, random })
}

/** One seed, played and judged by what issue 5 promises. */
async function judged(
  options: Play,
  engine: Engine,
  { traits, random }: Pick<Awaited<ReturnType<typeof givenStage>>, 'traits' | 'random'>,
): Promise<Played> {
  const began = performance.now()
  const { devices, image, onHour } = options
  const { maxInFlight, perMinute } = definitionFor(devices)
  const watched = { maxInFlight, perMinute, turnEveryS: options.turnEveryS }
  const simulation = new FleetSimulation(engine, traits, random, watched)
  const goal = 0.992
  const state = await simulation.run(longestS, () => simulation.reached >= goal, onHour)
  const hours = simulation.nowS / 3_600
  await simulation.settle(settleS)
  const broken = [...simulation.broken, ...(await engine.faults())]
  const { admitted, reached, mostInFlight, mostInAMinute } = simulation
  if (image === 'good' && (reached < 0.99 || ['paused', 'failed'].includes(state))) {
    broken.push(`a good image reached ${(reached * 100).toFixed(2)} %, and the rollout is ${state}`)
  }
  // Stopped by a rule, as nearly all are, or stands for days in a phase whose gate such an image does not pass.
  if (image === 'failing' && admitted > Math.max(devices / 100, leastToTell * 1.05)) {
    broken.push(
      `a failing image was given to ${admitted} of ${devices}, and the rollout is ${state}`,
    )
  }
  const seconds = (performance.now() - began) / 1_000
  const figures = { state, hours, admitted, reached, mostInFlight, mostInAMinute }
  return { ...options, ...figures, broken, seconds }
}
