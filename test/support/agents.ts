import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { DeviceAgent } from '../../device-sim/agent.ts'
import type { Behavior } from '../../device-sim/behavior.ts'
import type { DeviceClock } from '../../device-sim/clock.ts'
import type { DeviceConfigInput } from '../../device-sim/config.ts'
import { enrollDevice } from '../../device-sim/enroll.ts'
import { hardwareId, model, type Site } from './operator.ts'
import type { RunningServer } from './server.ts'

export interface Agents extends AsyncDisposable {
  all: readonly DeviceAgent[]
  /** Enrolls a device of the site and starts its agent. */
  powerUp: (
    serial: string,
    options?: { behavior?: Behavior; config?: Partial<DeviceConfigInput>; clock?: DeviceClock },
  ) => Promise<DeviceAgent>
}

/** Devices of a site; `config` is what they all have in common. */
export function createAgents(
  server: RunningServer,
  site: Site,
  config: Partial<DeviceConfigInput> = {},
): Agents {
  const all: DeviceAgent[] = []
  return {
    all,
    powerUp: async (serial, { behavior = {}, config: own = {}, clock } = {}) => {
      const dir = join(server.dataDir, '..', 'devices', serial)
      await enrollDevice({
        dir,
        root: await readFile(server.ca, 'utf8'),
        imageRoot: site.imageRoot,
        directorRoot: site.directorRoot,
        profile: site.profile,
        token: site.token,
        config: {
          format: 1,
          serverHost: 'localhost',
          devicePort: server.ports.device,
          mqttPort: server.ports.mqtt,
          model,
          hardwareIds: [hardwareId],
          components: { main: { version: '1.0.0', build: 100, svn: 1 } },
          serialNumber: serial,
          allowEvaluation: true,
          helloRetryMs: 2_000,
          reconnectMaxMs: 500,
          ...config,
          ...own,
        },
      })
      const agent = new DeviceAgent({ dir, behavior, ...(clock && { clock }) })
      all.push(agent)
      await agent.start()
      return agent
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all(all.map(async (agent) => await agent.stop()))
    },
  }
}
