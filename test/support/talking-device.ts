import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { FileDisk } from '../../device-sim/disk.ts'
import { enrollDevice } from '../../device-sim/enroll.ts'
import { findIdentity } from '../../device-sim/identity.ts'
import { topicOf } from '../../server/protocol/topics.ts'
import { hardwareId, model, type Site } from './operator.ts'
import { publishFrame, RawDevice, types } from './raw-device.ts'
import type { RunningServer } from './server.ts'

/** Enrolls a device of the site; run again after a failure it sends the same request. Returns the device's id. */
export async function enroll(server: RunningServer, site: Site, serial: string): Promise<string> {
  return await enrollDevice({
    dir: folderOf(server, serial),
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
    },
  })
}

const folderOf = ({ dataDir }: RunningServer, serial: string) =>
  join(dataDir, '..', 'devices', serial)

export interface Talking {
  deviceId: string
  /** Numbers of the messages that the server acknowledged. */
  acknowledged: number[]
  /** Numbers of those that it did not: they were sent again until it did. */
  repeated: Set<number>
  end: () => Promise<void>
}

/**
 * An enrolled device that goes on telling of events, one after the other with QoS 1, each with its number. What is not acknowledged it
 * sends again, over a new connection when the old one is closed, as every MQTT client does. No more than an hour's worth.
 */
export async function talk(server: RunningServer, serial: string): Promise<Talking> {
  const disk = await FileDisk.existing(folderOf(server, serial))
  const identity = await findIdentity(disk)
  if (!identity) throw new Error(`${serial} is not enrolled`)
  const { deviceId, key, certificates: cert } = identity
  const acknowledged: number[] = []
  const repeated = new Set<number>()
  const state = { isOver: false }
  let device: RawDevice | undefined
  const connected = async () => {
    const ca = await readFile(server.ca, 'utf8')
    const opened = await RawDevice.open(server.ports.mqtt, ca, { key, cert })
    if ((await opened.connect({ clientId: deviceId })) === 0) return opened
    await opened.close()
    return undefined
  }
  const tell = async (no: number, isDuplicate: boolean) => {
    device ??= await connected()
    const told = { kind: 'outage', detail: `${no}`, at: '2026-11-26T12:00:00.000Z' }
    const topic = topicOf(deviceId, 'event')
    const payload = JSON.stringify(told)
    device?.send(publishFrame({ topic, payload, id: no, isDuplicate }))
    if (await device?.next(types.puback)) return true
    device = undefined
    return false
  }
  const work = async () => {
    for (let no = 1; no <= 55 && !state.isOver; no++) {
      while (!(await tell(no, repeated.has(no)))) {
        repeated.add(no)
        await sleep(100)
      }
      acknowledged.push(no)
      await sleep(120)
    }
  }
  const running = work()
  const end = async () => {
    state.isOver = true
    await running
    await device?.close()
  }
  return { deviceId, acknowledged, repeated, end }
}
