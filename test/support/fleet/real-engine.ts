import { sql } from 'kysely'

import { endOverdue } from '../../../server/deployments/end.ts'
import { slotStates } from '../../../server/rollouts/bounds-store.ts'
import { driveRollouts } from '../../../server/rollouts/drive.ts'
import { meetDevices } from '../../../server/rollouts/meet.ts'
import { meetingWorker } from '../../../server/rollouts/workers.ts'
import type { Worker } from '../../../server/workers/worker.ts'
import { brokenInvariants } from '../rollout-invariants.ts'
import { helloOf, receive } from '../rollout-messages.ts'
import { installedBuild, type Release, type RolloutWorld } from '../rollout-world.ts'
import type { Commit, Engine, Given, Saying } from './engine.ts'

/** As the broker groups what arrives together. */
const group = 500
const limitsEveryS = 300
const lookEveryS = 600

/** The product itself: its functions, its workers, its database. */
export class RealEngine implements Engine {
  readonly #world: RolloutWorld
  readonly #ids: readonly string[]
  readonly #rolloutId: string
  readonly #release: Release
  readonly #start: number
  readonly #index: ReadonlyMap<string, number>
  readonly #meeting: Worker
  readonly #signal = new AbortController().signal
  #nowS = 0
  #lookAt = 0
  #woken = new Set<string>()

  constructor(
    world: RolloutWorld,
    ids: readonly string[],
    { rolloutId, release }: { rolloutId: string; release: Release },
  ) {
    this.#world = world
    this.#ids = ids
    this.#rolloutId = rolloutId
    this.#release = release
    this.#start = world.clock.now().getTime()
    this.#index = new Map(ids.map((id, n) => [id, n]))
    this.#meeting = meetingWorker(world.ctx)
    world.ctx.bus.subscribe('wake', (some) => {
      for (const id of some) if (world.connected.has(id)) this.#woken.add(id)
    })
  }

  setTime(nowS: number): void {
    this.#nowS = nowS
    const { clock } = this.#world
    clock.advance({ seconds: (this.#start - clock.now().getTime()) / 1_000 + nowS })
  }

  setConnected(device: number, isConnected: boolean): void {
    if (isConnected) this.#world.connected.add(this.#idOf(device))
    else this.#world.connected.delete(this.#idOf(device))
  }

  async meet(devices: readonly number[]): Promise<Given[]> {
    const given: Given[] = []
    for (const some of inGroups(devices)) {
      const ids = some.map((device) => this.#idOf(device))
      given.push(...(await this.#givenTo(await meetDevices(this.#world.ctx, ids))))
    }
    return given
  }

  async say(sayings: readonly Saying[]): Promise<Commit[]> {
    this.#world.sent.length = 0
    for (const leaf of ['hello', 'report'] as const) {
      const own = sayings.filter(({ say }) => (say === 'hello') === (leaf === 'hello'))
      for (const some of inGroups(own)) {
        const messages = some.map((one) => ({
          deviceId: this.#idOf(one.device),
          body: leaf === 'hello' ? this.#hello() : this.#report(one),
        }))
        await receive(this.#world, leaf, messages)
      }
    }
    return this.#commits()
  }

  async turn(): Promise<Given[]> {
    const { ctx } = this.#world
    await driveRollouts(ctx, async (_, look) => {
      if (this.#nowS < this.#lookAt) return true
      this.#lookAt = this.#nowS + lookEveryS
      return await look()
    })
    if (this.#nowS % limitsEveryS === 0) while (await endOverdue(ctx));
    for (let turns = 0; turns < 1_000 && (await this.#meeting.step(this.#signal)); turns++);
    const some = [...this.#woken]
    this.#woken = new Set()
    return await this.#givenTo(some)
  }

  async state(): Promise<string> {
    const row = await this.#world.db
      .selectFrom('rollout')
      .select('state')
      .where('id', '=', this.#rolloutId)
      .executeTakeFirstOrThrow()
    return row.state
  }

  async inFlight(): Promise<number> {
    const states = sql.join([...slotStates, 'offered'])
    const { rows } = await sql<{ n: number }>`select coalesce(sum(n), 0)::int as n
      from deployment_count where rollout_id = ${this.#rolloutId} and state in (${states})`.execute(
      this.#world.db,
    )
    return rows[0]?.n ?? 0
  }

  async faults(): Promise<string[]> {
    return await brokenInvariants(this.#world)
  }

  /** Of devices that may have been given something, those that were. */
  async #givenTo(some: readonly string[]): Promise<Given[]> {
    if (some.length === 0) return []
    const { rows } = await sql<{ id: string; device_id: string }>`
      select id, device_id from deployment where rollout_id = ${this.#rolloutId}
        and device_id = any(${[...some]}::uuid[]) and state = 'queued'`.execute(this.#world.db)
    return rows.map((row) => ({ device: this.#indexOf(row.device_id), deploymentId: row.id }))
  }

  #commits(): Commit[] {
    return this.#world.sent.splice(0).flatMap(({ deviceId, leaf, body }) => {
      const { command, commitNonce } = body as { command?: string; commitNonce?: string }
      if (leaf !== 'command' || command !== 'commit' || commitNonce === undefined) return []
      return [{ device: this.#indexOf(deviceId), commitNonce }]
    })
  }

  #hello() {
    const { build, sha256 } = this.#release
    return helloOf({ installed: [installedBuild(build, { sha256 })] })
  }

  #report({ deploymentId, say, commitNonce, no }: Saying) {
    return {
      deploymentId,
      state: say,
      at: new Date(this.#world.clock.now().getTime() + no).toISOString(),
      ...(say === 'rolled_back' && { code: 'health' }),
      ...(commitNonce !== undefined && { commitNonce, sha256: this.#release.sha256 }),
    }
  }

  #idOf(device: number): string {
    return this.#ids[device] ?? ''
  }

  #indexOf(deviceId: string): number {
    return this.#index.get(deviceId) ?? -1
  }
}

function inGroups<T>(all: readonly T[]): T[][] {
  const count = Math.ceil(all.length / group)
  return Array.from({ length: count }, (_, n) => all.slice(n * group, (n + 1) * group))
}
