import type { SeededRandom } from './random.ts'

/** How one simulated device behaves. Times in seconds. */
export interface Traits {
  id: string
  /** Between two polls; 0 for one that holds a connection and is told. */
  pollS: number
  /** Never heard of during the whole simulation. */
  isGone: boolean
  /** Says nothing more once it has begun to install. */
  goesSilent: boolean
  /** Takes so many times longer than others. */
  slowness: number
  /** The image does not work on it, and it goes back to the old one. */
  rollsBack: boolean
}

export interface FleetPlan {
  seed: number
  devices: number
  /** Of the devices: the image under test does not run there. */
  failing: number
  /** Of the devices: those that die while they install whatever it is. */
  silent: number
  gone: number
  slow: number
  connected: number
}

export const usualFleet: Omit<FleetPlan, 'seed' | 'devices' | 'failing'> = {
  silent: 0.001,
  gone: 0.02,
  slow: 0.03,
  connected: 0.05,
}

export function givenTraits(random: SeededRandom, plan: FleetPlan): Traits[] {
  return Array.from({ length: plan.devices }, () => {
    const id = random.uuid()
    const isGone = random.isOneOf(plan.gone)
    const isConnected = random.isOneOf(plan.connected)
    return {
      id,
      isGone,
      pollS: isConnected ? 0 : random.pick([300, 900, 900, 3_600, 3_600, 14_400]),
      goesSilent: random.isOneOf(plan.silent),
      slowness: random.isOneOf(plan.slow) ? random.between(5, 40) : 1 + random.next(),
      rollsBack: random.isOneOf(plan.failing),
    }
  })
}

/** What a device that took an update says, and so many seconds after the step before. */
export type Step =
  | { afterS: number; say: 'offered' | 'downloading' | 'installing' | 'testing' | 'rolled_back' }
  /** Boots the new image and connects with it. */
  | { afterS: number; say: 'hello' }

/** Slow ones and ones with an offline spell in between take hours; the proof follows the server's nonce. */
export function stepsOf(random: SeededRandom, device: Traits): Step[] {
  const { slowness } = device
  const away = random.isOneOf(0.05) ? random.between(600, 7_200) : 0
  const begin: Step[] = [
    { afterS: random.between(1, 20), say: 'offered' },
    { afterS: random.between(1, 20), say: 'downloading' },
    { afterS: Math.round(random.between(30, 240) * slowness) + away, say: 'installing' },
  ]
  if (device.goesSilent) return begin
  const bootS = Math.round(random.between(20, 90) * Math.min(slowness, 4))
  if (device.rollsBack) return [...begin, { afterS: bootS * 2, say: 'rolled_back' }]
  return [...begin, { afterS: bootS, say: 'hello' }, { afterS: 1, say: 'testing' }]
}
