import { SeededRandom } from '../test/support/fleet/random.ts'

/** What can go wrong, by name. `network` ones need namespaces of their own, `disk` a filesystem, `clock` a library. */
export const faultKinds = [
  'kill-server',
  'kill-broker',
  'stop-server',
  'kill-database',
  'restart-database',
  'stall-database',
  'cut-bus',
  'cut-database-connections',
  'part-database',
  'part-devices',
  'cut-devices',
  'lose-packets',
  'part-network',
  'fill-disk',
  'jump-clock',
  'flood',
  'kill-agents',
] as const
export type FaultKind = (typeof faultKinds)[number]

export interface Fault {
  kind: FaultKind
  /** After the beginning of the faults. */
  atMs: number
  forMs: number
  /** Which server, or which part of the fleet. */
  target: 0 | 1
  /** Hours that a clock jumps, percent of packets that are lost, … */
  amount: number
}

/** What an operator does meanwhile, to which of the devices that only talk. */
export interface Deed {
  action: 'disable' | 'enable' | 'revoke'
  atMs: number
  device: number
}

export interface Plan {
  seed: number
  faults: readonly Fault[]
  deeds: readonly Deed[]
  /** Servers are hosts of their own, in network namespaces, where that is possible. */
  isNetworked: boolean
  /** The servers run with so many broker processes. */
  brokers: number
  /** Numbers of the agents on which the new image does not work. */
  failing: readonly number[]
}

const leastGapMs = 200
const mostGapMs = 2_500
const mostMs = 6_000

/**
 * The same for the same seed, everywhere: what happens, when, to whom. When it meets which work depends on the machine.
 *
 * @param only these kinds, in any order
 */
export function planOf(seed: number, only: readonly FaultKind[] = faultKinds): Plan {
  const random = new SeededRandom(seed)
  const isNetworked = random.isOneOf(0.3)
  const usable = only.filter(
    (kind) =>
      kind !== 'kill-broker' &&
      (isNetworked || (kind !== 'lose-packets' && kind !== 'part-network')),
  )
  const faults: Fault[] = []
  let atMs = random.between(0, 1_000)
  for (let left = random.between(4, 6); left > 0 && usable.length > 0; left--) {
    const kind = usable[random.between(0, usable.length - 1)]
    if (!kind) continue
    faults.push({
      kind,
      atMs,
      forMs: random.between(300, mostMs),
      target: random.isOneOf(0.5) ? 0 : 1,
      amount: amountOf(kind, random),
    })
    atMs += random.between(leastGapMs, mostGapMs)
  }
  const deeds: Deed[] = [
    { action: 'disable', atMs: random.between(0, 4_000), device: 0 },
    { action: 'enable', atMs: random.between(5_000, 9_000), device: 0 },
    { action: 'revoke', atMs: random.between(0, 8_000), device: 1 },
    { action: 'disable', atMs: random.between(0, 8_000), device: 2 },
  ]
  const failing = [random.between(0, 3), random.between(4, 7)]
  const brokers = random.isOneOf(0.4) ? 2 : 0
  // Only where there are any: `amount` is which of them. After everything else, so that seeds stay what they were without it.
  if (brokers > 0 && only.includes('kill-broker')) {
    for (const target of [0, 1] as const) {
      const amount = random.between(0, brokers - 1)
      faults.push({ kind: 'kill-broker', atMs: random.between(0, 8_000), forMs: 0, target, amount })
    }
  }
  return { seed, faults, deeds, isNetworked, brokers, failing }
}

function amountOf(kind: FaultKind, random: SeededRandom): number {
  if (kind === 'jump-clock') return random.between(1, 9) * (random.isOneOf(0.5) ? 1 : -1)
  return kind === 'lose-packets' ? random.between(5, 30) : 0
}

export function inWords({ faults, deeds, isNetworked, brokers }: Plan): string {
  const seconds = (ms: number) => (ms / 1_000).toFixed(1)
  const what = [
    ...faults.map(({ kind, atMs, forMs, target, amount }) => ({
      atMs,
      text: `${seconds(atMs)} ${kind}${amount === 0 ? '' : ` ${amount}`} [${target}] for ${seconds(forMs)}`,
    })),
    ...deeds.map(({ action, atMs, device }) => ({
      atMs,
      text: `${seconds(atMs)} ${action} TALK-${device}`,
    })),
  ]
  const where = `${isNetworked ? 'own hosts' : 'one host'}, ${brokers} broker processes`
  return `${where}: ${what
    .toSorted((a, b) => a.atMs - b.atMs)
    .map(({ text }) => text)
    .join('; ')}`
}
