import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { expect, vi } from 'vitest'

import { DeviceAgent } from '../../device-sim/agent.ts'
import type { Behavior } from '../../device-sim/behavior.ts'
import type { DeviceConfigInput } from '../../device-sim/config.ts'
import { enrollDevice } from '../../device-sim/enroll.ts'
import type { DeliveryEntry } from '../../pki/tuf/types.ts'
import { DeviceServer } from './device-server.ts'
import { World } from './tuf-fixture.ts'

export const firmware = Buffer.from('the new firmware '.repeat(40_000))

/** A device's directory and the small server it talks to, over real TLS. */
export class DeviceBench implements AsyncDisposable {
  readonly dir: string
  readonly server: DeviceServer
  readonly #agents: DeviceAgent[] = []

  private constructor(dir: string, server: DeviceServer) {
    this.dir = dir
    this.server = server
  }

  /** With one build published for the device, and the ways to it that the director names; it is text. */
  static async open({
    image = firmware,
    shorter = [],
  }: { image?: Buffer; shorter?: DeliveryEntry[] } = {}): Promise<DeviceBench> {
    const parent = await mkdtemp(join(tmpdir(), 'fleetseal-device-'))
    const world = new World({ now: new Date(Math.floor(Date.now() / 1000) * 1000) })
    const path = world.addBuild({ content: image.toString() })
    world.want(path)
    const { delivery } = world.wanted[path]?.custom ?? {}
    delivery?.unshift(...shorter)
    world.publishDelegations()
    world.publishFirmware()
    world.publishWanted()
    const server = await DeviceServer.start(world)
    server.addArtifact(image)
    return new DeviceBench(join(parent, 'device'), server)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const agent of this.#agents) await agent.stop()
    await this.server[Symbol.asyncDispose]()
    await rm(join(this.dir, '..'), { recursive: true, force: true })
  }

  enrollment(config: Partial<DeviceConfigInput> = {}): Parameters<typeof enrollDevice>[0] {
    const { rootPem, world, ports } = this.server
    return {
      dir: this.dir,
      root: rootPem,
      imageRoot: world.image.roots[0] ?? '',
      directorRoot: world.director.roots[0] ?? '',
      profile: 'plant',
      token: 'secret',
      config: {
        format: 1,
        serverHost: 'localhost',
        ...ports,
        model: 'gate-2',
        hardwareIds: ['gate-2-r3'],
        components: {
          main: { version: '2.4.0', build: 400, svn: 41 },
          radio: { version: '1.0.0', build: 205, svn: 0 },
        },
        serialNumber: 'SN-7',
        reconnectMaxMs: 200,
        ...config,
      },
    }
  }

  async enroll(config: Partial<DeviceConfigInput> = {}): Promise<string> {
    return await enrollDevice(this.enrollment(config))
  }

  agent(behavior: Behavior = {}): DeviceAgent {
    const agent = new DeviceAgent({ dir: this.dir, behavior })
    this.#agents.push(agent)
    return agent
  }

  async run(behavior: Behavior = {}): Promise<DeviceAgent> {
    const agent = this.agent(behavior)
    await agent.start()
    return agent
  }

  /** States as reported, without the ones that only say how far a download is. */
  states(): string[] {
    return this.server.reports
      .filter(({ progress = 0 }) => progress === 0)
      .map(({ state }) => state)
  }

  async until(check: () => unknown): Promise<void> {
    await vi.waitFor(check, { timeout: 20_000, interval: 20 })
  }

  async untilState(state: string): Promise<void> {
    await this.until(() => expect(this.states()).toContain(state))
  }
}
