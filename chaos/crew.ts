import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { FileDisk } from '../device-sim/disk.ts'
import { findIdentity } from '../device-sim/identity.ts'
import { RawDevice } from '../test/support/raw-device.ts'
import { enroll } from '../test/support/talking-device.ts'
import type { Flooder } from './faults.ts'
import { Talker, type TalkerIdentity } from './talker.ts'
import { seenFromHere, type World } from './world.ts'

/** Devices that run no agent: those that tell of numbered events, one that floods and one that reads nothing. */
export interface Crew extends AsyncDisposable {
  talkers: readonly Talker[]
  flooder: Flooder
}

const talkerCount = 5

/** Enrolls them, in a group of their own so that no rollout waits for them, and has them begin. */
export async function startCrew(world: World): Promise<Crew> {
  await using stack = new AsyncDisposableStack()
  const { site, mqtt } = world
  const server = await seenFromHere(world.servers[0], stack)
  const ca = await readFile(server.ca, 'utf8')
  const { fleetseal } = site.operator
  await fleetseal('group', 'create', 'talkers')
  await fleetseal('enrollment', 'create', 'talkers', '--group', 'talkers')
  const { token } = await fleetseal<{ token: string }>('enrollment', 'token', 'talkers')
  const identityOf = async (serial: string): Promise<TalkerIdentity> => {
    await enroll(server, { ...site, profile: 'talkers', token }, serial)
    const disk = await FileDisk.existing(join(server.dataDir, '..', 'devices', serial))
    const identity = await findIdentity(disk)
    if (!identity) throw new Error(`${serial} is not enrolled`)
    return { deviceId: identity.deviceId, key: identity.key, cert: identity.certificates }
  }
  const talkers: Talker[] = []
  for (let number = 0; number < talkerCount; number++)
    talkers.push(new Talker(await identityOf(`TALK-${number}`), mqtt.port, ca))
  const flooder = { identity: await identityOf('FLOOD'), ca }
  stack.use(await frozen(await identityOf('FROZEN'), mqtt.port, ca))
  for (const talker of talkers) {
    talker.start()
    stack.defer(async () => await talker.stop())
  }
  const up = stack.move()
  return { talkers, flooder, [Symbol.asyncDispose]: () => up.disposeAsync() }
}

/** Asks to be told everything, and reads nothing. */
async function frozen(
  { deviceId, ...credentials }: TalkerIdentity,
  port: number,
  ca: string,
): Promise<AsyncDisposable> {
  const device = await RawDevice.open(port, ca, credentials)
  await device.connect({ clientId: deviceId, keepalive: 600 })
  await device.subscribe([`fleetseal/v1/${deviceId}/command`])
  device.tcp.pause()
  return { [Symbol.asyncDispose]: async () => void device.socket.destroy() }
}
