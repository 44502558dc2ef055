import { lineOf } from '../protocol/version-line.ts'
import type { StepRelease } from './meet-store.ts'

/** What a device is and runs. */
export interface Standing {
  hardware_ids: readonly string[]
  installed: readonly { component: string; version: string; build: number; svn: number }[]
  /** Releases that it rolled back from and may not be offered again. */
  rolled_back: readonly string[]
}

/**
 * The releases that lead a device to `target`, which is the last of them: the fewest, and where several ways are as short the
 * lowest builds (rollouts.md §11). Undefined when no published release leads on. Builds rise along the way, so there is no
 * circle; `published` is bounded by who reads it.
 */
export function pathTo(
  target: StepRelease,
  published: readonly StepRelease[],
  device: Standing,
): StepRelease[] | undefined {
  const runs = device.installed.find(({ component }) => component === target.component)
  const start: From = runs ?? { build: -1, svn: 0, version: '' }
  const steps = published
    .filter((one) => one.build > start.build && one.build < target.build && suits(one, device))
    .toSorted((a, b) => a.build - b.build)
  const stations = [...steps, target]
  const left = hopsTo(stations)
  const path: StepRelease[] = []
  for (let at = start; ;) {
    const next = nearest(at, stations, left)
    if (!next) return undefined
    path.push(next)
    if (next === target) return path
    at = next
  }
}

type From = Pick<StepRelease, 'build' | 'svn' | 'version'>

/** How many installations lead from each station to the last one; those that do not lead there are left out. */
function hopsTo(stations: readonly StepRelease[]): ReadonlyMap<StepRelease, number> {
  const left = new Map<StepRelease, number>()
  for (const station of stations.toReversed()) {
    if (left.size === 0) {
      left.set(station, 0)
      continue
    }
    const next = nearest(station, stations, left)
    if (next) left.set(station, (left.get(next) ?? 0) + 1)
  }
  return left
}

/** Of the stations that can be installed from here and lead on, the nearest to the end; of several the lowest. */
function nearest(
  from: From,
  stations: readonly StepRelease[],
  left: ReadonlyMap<StepRelease, number>,
): StepRelease | undefined {
  let best: StepRelease | undefined
  for (const station of stations) {
    const hops = left.get(station)
    if (hops === undefined || !leads(from, station)) continue
    if (best === undefined || hops < (left.get(best) ?? Infinity)) best = station
  }
  return best
}

function leads(from: From, to: StepRelease): boolean {
  return (
    to.build > from.build &&
    (to.min_previous === null || to.min_previous <= from.build) &&
    to.svn >= from.svn &&
    !isLineBack(from.version, to.version)
  )
}

function isLineBack(from: string, to: string): boolean {
  const [before, after] = [lineOf(from), lineOf(to)].map((line) => line?.split('.').map(Number))
  const [major = 0, minor = 0] = before ?? []
  const [nextMajor = 0, nextMinor = 0] = after ?? []
  if (!before || !after) return false
  return major > nextMajor || (major === nextMajor && minor > nextMinor)
}

function suits(release: StepRelease, device: Standing): boolean {
  return (
    release.hardware_ids.some((id) => device.hardware_ids.includes(id)) &&
    !device.rolled_back.includes(release.id) &&
    Object.entries(release.requires).every(([component, least]) =>
      device.installed.some((runs) => runs.component === component && runs.build >= least),
    )
  )
}
