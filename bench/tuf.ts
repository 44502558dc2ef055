import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { FileDisk } from '../device-sim/disk.ts'
import { saveTrusted } from '../device-sim/update/trusted.ts'
import { verifyConstrained } from '../pki/tuf/profile-p.ts'
import type { TrustedState, VerifiedBundle } from '../pki/tuf/types.ts'
import { pinsOf } from '../test/support/tuf-constrained.ts'
import { nonce, World } from '../test/support/tuf-fixture.ts'
import { makeHybrid } from '../test/support/tuf-hybrid.ts'
import { median } from './cpu.ts'
import { plain, type Row } from './row.ts'

const rounds = 300
const storedRounds = 60
/** The metadata, before anything is downloaded; and with what updates.md section 4 measured for the disk. */
const limitMs = 5
const storedLimitMs = 15

/**
 * What a device pays to verify a bundle, as CPU of this process, and by the clock where it waits for the disk. A new device is the dearest
 * case: every file is new to it.
 */
export async function benchTuf(say: (line: string) => void): Promise<Row[]> {
  say('a bundle, and one with ML-DSA signatures …')
  const world = World.honest()
  const hybrid = World.honest()
  makeHybrid(hybrid)
  const first = median(timesOf(() => world.verify()))
  const held = world.updatedState()
  const timestamp = { 'timestamp.json': world.director.file('timestamp').text }
  const poll = { state: held, bundle: { director: timestamp, image: {} } }
  const again = median(timesOf(() => world.verify(poll)))
  const components = { main: { build: 400, svn: 41 } }
  const small = { ...world.device, components, pins: pinsOf(world) }
  const bundle = world.bundle()
  const pinned = median(
    timesOf(() => verifyConstrained(world.factoryState(), bundle, small, { nonce })),
  )
  const quantum = median(timesOf(() => hybrid.verify()))
  say('and stored, file by file …')
  const { cpuMs, wallMs } = await stored(world)
  return [
    bounded('a whole bundle verified, CPU', first, limitMs),
    bounded('the same with every file stored and synced, by the clock', wallMs, storedLimitMs),
    plain('the same, CPU', milliseconds(cpuMs)),
    plain('a timestamp verified, the rest held, CPU', milliseconds(again)),
    plain('the bundle by the constrained verifier, CPU', milliseconds(pinned)),
    plain('a whole bundle with ML-DSA-44 beside Ed25519, CPU', milliseconds(quantum)),
  ]
}

function bounded(what: string, value: number, limit: number): Row {
  const target = `< ${limit} ms`
  return { what, figure: milliseconds(value), target, met: value < limit }
}

function milliseconds(value: number): string {
  return `${value.toFixed(2)} ms`
}

function timesOf(verify: () => VerifiedBundle): number[] {
  const times: number[] = []
  for (let round = 0; round < rounds; round += 1) {
    const began = process.cpuUsage()
    if (verify().targets.length !== 1) throw new Error('The bundle was refused')
    times.push(cpuMsSince(began))
  }
  return times
}

function cpuMsSince(began: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(began)
  return (user + system) / 1000
}

/** Verifies, and writes what a device then keeps: root to time, each file durable before the next. */
async function stored(world: World): Promise<{ cpuMs: number; wallMs: number }> {
  const cpu: number[] = []
  const wall: number[] = []
  for (let round = 0; round < storedRounds; round += 1) {
    const dir = await mkdtemp(join(tmpdir(), 'bench-tuf-'))
    const disk = await FileDisk.open(dir)
    const before: TrustedState = world.factoryState()
    await saveTrusted(disk, undefined, before)
    const began = performance.now()
    const used = process.cpuUsage()
    const { state } = world.verify({ state: before })
    await saveTrusted(disk, before, state)
    cpu.push(cpuMsSince(used))
    wall.push(performance.now() - began)
    await rm(dir, { recursive: true })
  }
  return { cpuMs: median(cpu), wallMs: median(wall) }
}
