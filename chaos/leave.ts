import { setTimeout as sleep } from 'node:timers/promises'

import type pg from 'pg'

import { leaseMs } from '../server/mqtt/node-lease.ts'
import { brokenExport, endedOverSomebody, leftOpen, wrongPresence } from './aftermath.ts'
import { type Holding, holdingOf } from './processes.ts'
import type { World } from './world.ts'

const lookMs = 250
/** The devices of a process that was killed and are nowhere else are shown offline when its lease has ended, at a next beat. */
const patienceMs = leaseMs + 30_000

/** What each of the servers holds now. */
export function holdings({ servers }: World): Holding[] {
  return servers.map(({ server: { ports, pid }, database }) =>
    holdingOf(pid(), { device: [ports.mqtt, ports.device], database: database.port }),
  )
}

/**
 * Judges while the agents are there and nobody else, and again when they are gone too: all are powered off then.
 *
 * @param before what the servers held before any device came
 */
export async function brokenWhenLeaving(
  world: World,
  database: pg.Client,
  before: readonly Holding[],
  processes: number,
): Promise<{ broken: string[]; residentMb: number; seconds: number }> {
  const connected = () =>
    world.parts.flatMap(({ views }) =>
      views.flatMap(({ deviceId, connected: isHere }) => (isHere ? [deviceId] : [])),
    )
  const beganMs = performance.now()
  const broken = await settled(async () => await wrongPresence(database, connected()))
  broken.push(...(await endedOverSomebody(database)), ...(await brokenExport(world.site)))
  for (const part of world.parts) await part.kill()
  let residentMb = 0
  const left = async () => {
    const now = holdings(world)
    residentMb = Math.max(...now.map((one) => one.residentMb))
    const open = now.flatMap((after, number) => {
      const first = before[number]
      return first ? leftOpen(`server ${number}`, first, after, processes) : []
    })
    return [...open, ...(await wrongPresence(database, []))]
  }
  broken.push(...(await settled(left)))
  return { broken, residentMb, seconds: (performance.now() - beganMs) / 1_000 }
}

/** What is still wrong when the time is over, or nothing as soon as nothing is. */
async function settled(judge: () => Promise<string[]>): Promise<string[]> {
  const endMs = performance.now() + patienceMs
  for (;;) {
    const broken = await judge()
    if (broken.length === 0 || performance.now() > endMs) return broken
    await sleep(lookMs)
  }
}
