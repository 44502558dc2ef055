import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { DeviceAgent } from '../device-sim/agent.ts'
import { type Enrollment, enrollDevice } from '../device-sim/enroll.ts'
import { handChoice } from '../device-sim/inbox.ts'
import type { Ports } from './server-process.ts'

export const model = 'gate-2'
export const hardwareId = 'gate-2-r3'
export const component = 'main'

/** What its owner is like. */
export type Role = 'usual' | 'postpones' | 'opts out' | 'revoked'

export interface DemoDevice {
  serialNumber: string
  role: Role
  dir: string
  deviceId: string
  agent: DeviceAgent
  /** Reports that the server acknowledged: none of them may be missing in its history. */
  acknowledged: { deploymentId: string; state: string }[]
  /** The newest state of its update, as the device sees it. */
  state: string
  postponed: number
}

export interface FleetOptions {
  home: string
  ports: Ports
  root: string
  imageRoot: string
  directorRoot: string
  profile: string
  token: string
  oldImage: Buffer
  count: number
  onEnrolled: (done: number) => void
}

const postponeMs = 12_000
const parallel = 4
const enrollAttempts = 40

/** Enrolls the devices by EST and powers them up, four at a time. */
export async function buildFleet(options: FleetOptions): Promise<DemoDevice[]> {
  const devices: DemoDevice[] = []
  const numbers = Array.from({ length: options.count }, (_, index) => index + 1)
  const work = async () => {
    for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
      devices.push(await buildDevice(options, number))
      options.onEnrolled(devices.length)
    }
  }
  await Promise.all(Array.from({ length: parallel }, work))
  return devices.toSorted((a, b) => a.serialNumber.localeCompare(b.serialNumber))
}

/** The last two devices have owners who decide otherwise; which one is revoked, the story decides. */
function roleOf(number: number, count: number): Role {
  if (number === count) return 'opts out'
  return number === count - 1 ? 'postpones' : 'usual'
}

/** Enrollment may be repeated: the same request gets the same certificate. Here it is, while the server is away. */
async function enrolled(enrollment: Enrollment): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await enrollDevice(enrollment)
    } catch (error) {
      if (attempt === enrollAttempts) throw error
      await sleep(1_000)
    }
  }
}

async function buildDevice(options: FleetOptions, number: number): Promise<DemoDevice> {
  const { home, ports, count } = options
  const serialNumber = `G2-${String(number).padStart(5, '0')}`
  const dir = join(home, 'devices', serialNumber)
  const role = roleOf(number, count)
  await mkdir(join(home, 'devices'), { recursive: true, mode: 0o700 })
  const deviceId = await enrolled({
    dir,
    root: options.root,
    imageRoot: options.imageRoot,
    directorRoot: options.directorRoot,
    profile: options.profile,
    token: options.token,
    images: { [component]: options.oldImage },
    config: {
      format: 1,
      serverHost: 'localhost',
      devicePort: ports.device,
      mqttPort: ports.mqtt,
      model,
      hardwareIds: [hardwareId],
      components: { [component]: { version: '1.0.0', build: 100, svn: 1 } },
      serialNumber,
      keyAlgorithm: number % 5 === 0 ? 'ML-DSA-65' : 'P-256',
      allowEvaluation: true,
      helloRetryMs: 5_000,
      reconnectMaxMs: 2_000,
      // Time for the owner who postpones to say so.
      noticeMs: role === 'postpones' ? 20_000 : 0,
    },
  })
  if (role === 'opts out') await handChoice(dir, { choice: 'optOut', onlyThis: false })
  const device: DemoDevice = {
    serialNumber,
    role,
    dir,
    deviceId,
    agent: new DeviceAgent({ dir }),
    acknowledged: [],
    state: '',
    postponed: 0,
  }
  listen(device)
  await device.agent.start()
  return device
}

function listen(device: DemoDevice): void {
  const { agent, acknowledged } = device
  agent.on('state', ({ state }) => {
    device.state = state
    if (state === 'offered' && device.role === 'postpones' && device.postponed === 0) {
      device.postponed += 1
      const until = new Date(Date.now() + postponeMs).toISOString()
      void handChoice(device.dir, { choice: 'postpone', until, onlyThis: false })
    }
  })
  agent.on('sent', ({ leaf, body }) => {
    if (leaf === 'report') acknowledged.push(body as { deploymentId: string; state: string })
  })
}

export function installedVersion(device: DemoDevice): string {
  const all = device.agent.status()?.installed ?? []
  return all.find((one) => one.component === component)?.version ?? '?'
}

/** Waits until `done` holds; throws with `what` when it does not come true in time. */
export async function until(
  what: string,
  limitMs: number,
  done: () => boolean | Promise<boolean>,
): Promise<void> {
  const end = Date.now() + limitMs
  while (!(await done())) {
    if (Date.now() > end) throw new Error(`${what}: not within ${limitMs / 1_000} s`)
    await sleep(200)
  }
}
