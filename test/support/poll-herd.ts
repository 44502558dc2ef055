import { PollLoad } from '../../server/ddi/poll-load.ts'
import { QuietDevices } from '../../server/ddi/quiet-devices.ts'
import { sleepOf } from '../../server/ddi/sleep.ts'

export interface Herd {
  devices: number
  /** Between two polls with nothing to do. */
  pollSeconds: number
  /** All come for the first time within so many seconds. */
  withinSeconds: number
  /** How long to watch. */
  seconds: number
  load: { target: number; reads: number; atOnce: number }
}

export interface HerdSeen {
  /** By second. */
  polls: number[]
  reads: number[]
  refused: number[]
  /** Second of the last device's first answer. */
  allAnsweredAt: number
  longestSleep: number
}

/** What a refused client waits: SWUpdate what it was told last (45 s at first), RAUC 60 s. Neither heeds Retry-After. */
const refusedWaits = [45, 60]

/** A fleet that polls one process in virtual time, with nothing to do: as many heartbeats as it takes, and no sockets. */
export function watchHerd({
  devices,
  pollSeconds,
  withinSeconds,
  seconds,
  load: given,
}: Herd): HerdSeen {
  let nowMs = 0
  const monotonicMs = () => nowMs
  const load = new PollLoad({ monotonicMs, ...given })
  const quiet = new QuietDevices({ isConnected: () => true, monotonicMs })
  const began = Date.parse('2026-11-26T10:00:00Z')
  const due: number[][] = Array.from({ length: seconds }, () => [])
  const later = (second: number, device: number) => void due[Math.floor(second)]?.push(device)
  for (let device = 0; device < devices; device++) {
    later((device * withinSeconds) / devices, device)
  }
  const seen: HerdSeen = { polls: [], reads: [], refused: [], allAnsweredAt: 0, longestSleep: 0 }
  const answered = new Uint8Array(devices)
  let waiting = devices
  for (let second = 0; second < seconds; second++) {
    const polls = due[second] ?? []
    quiet.marked(second * 1_000)
    let [reads, refused] = [0, 0]
    for (const [n, device] of polls.entries()) {
      nowMs = (second + n / polls.length) * 1_000
      const id = `device-${device}`
      load.arrive()
      if (!quiet.get(id)) {
        if (!load.mayRead()) {
          refused++
          later(second + (refusedWaits[device % 2] ?? 60), device)
          continue
        }
        reads++
        quiet.begin(id)
        quiet.end(id, { controllerId: id, seconds: pollSeconds, waits: false, links: {} })
      }
      if (answered[device] === 0) {
        answered[device] = 1
        waiting--
        if (waiting === 0) seen.allAnsweredAt = second
      }
      const sleep = secondsIn(sleepOf(id, pollSeconds, new Date(began + nowMs), load.stretch()))
      seen.longestSleep = Math.max(seen.longestSleep, sleep)
      later(second + sleep, device)
    }
    seen.polls.push(polls.length)
    seen.reads.push(reads)
    seen.refused.push(refused)
    due[second] = []
  }
  return seen
}

function secondsIn(sleep: string): number {
  const [h = 0, m = 0, s = 0] = sleep.split(':').map(Number)
  return h * 3_600 + m * 60 + s
}
