import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import https from 'node:https'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { FileDisk } from '../../device-sim/disk.ts'
import { findIdentity } from '../../device-sim/identity.ts'
import { topicOf } from '../../server/protocol/topics.ts'
import type { Credentials } from '../../test/support/broker-pki.ts'
import { hardwareId, model, type Site } from '../../test/support/operator.ts'
import { publishFrame, RawDevice, types } from '../../test/support/raw-device.ts'
import type { RunningServer } from '../../test/support/server.ts'
import { enroll } from '../../test/support/talking-device.ts'
import type { Latency } from './verdict.ts'

const everyMs = 1_000
const connectEveryMs = 5_000

export interface Prober {
  latencies: Record<string, Latency[]>
  /** What did not work, by what it said. */
  failures: Record<string, number>
  end: () => Promise<void>
}

type Device = Pick<Credentials, 'deviceId' | 'key' | 'cert'>

const hello = () => ({
  agent: 'fleetseal-soak/1',
  model,
  hardwareIds: [hardwareId],
  installed: [{ component: 'main', version: '1.0.0', build: 100, svn: 1, sha256: '0'.repeat(64) }],
  nonce: randomBytes(16).toString('hex'),
})

/**
 * Three who measure how the server feels from outside, once a second: an operator who lists devices, a device that says hello and
 * waits for the acknowledgement, and one that connects anew.
 */
export async function startProbes(
  server: RunningServer,
  [teller, comer]: readonly [Device, Device],
  startedMs: number,
): Promise<Prober> {
  const ca = await readFile(server.ca, 'utf8')
  const key = await server.apiKey()
  const state = { isOver: false }
  const latencies: Prober['latencies'] = { list: [], acknowledged: [], connect: [] }
  const failures: Prober['failures'] = {}
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1, ca })
  const repeat = async (name: string, pauseMs: number, once: () => Promise<void>) => {
    while (!state.isOver) {
      const began = performance.now()
      try {
        await once()
        const now = performance.now()
        latencies[name]?.push({ atMs: now - startedMs, ms: now - began })
      } catch (error) {
        const what = `${name}: ${error instanceof Error ? error.message : String(error)}`
        failures[what] = (failures[what] ?? 0) + 1
      }
      await sleep(pauseMs)
    }
  }
  let told: RawDevice | undefined
  let messages = 0
  const connected = async ({ deviceId, ...credentials }: Device) => {
    const device = await RawDevice.open(server.ports.mqtt, ca, credentials)
    const code = await device.connect({ clientId: deviceId, keepalive: 60 })
    if (code !== 0) throw new Error(`CONNACK ${code}`)
    return device
  }
  const working = [
    repeat('list', everyMs, async () => await list(server.ports.api, key, agent)),
    repeat('acknowledged', everyMs, async () => {
      told ??= await connected(teller)
      const id = (messages++ % 60_000) + 1
      const topic = topicOf(teller.deviceId, 'hello')
      told.send(publishFrame({ topic, payload: JSON.stringify(hello()), id }))
      if (await told.next(types.puback)) return
      told = undefined
      throw new Error('the connection was lost')
    }),
    repeat('connect', connectEveryMs, async () => await (await connected(comer)).close()),
  ]
  return {
    latencies,
    failures,
    end: async () => {
      state.isOver = true
      await Promise.all(working)
      await told?.close()
      agent.destroy()
    },
  }
}

async function list(port: number, key: string, agent: https.Agent): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const headers = { Authorization: `Bearer ${key}` }
  const path = '/api/v1/devices?limit=50'
  https
    .get({ host: 'localhost', port, path, headers, agent }, (answer) => {
      answer.resume()
      answer.once('error', reject)
      answer.once('end', () =>
        answer.statusCode === 200 ? resolve() : reject(new Error(`status ${answer.statusCode}`)),
      )
    })
    .once('error', reject)
  await promise
}

/** Two devices that only measure: in a group of their own, so that no rollout waits for them. */
export async function enrollProbes(
  server: RunningServer,
  site: Site,
): Promise<readonly [Device, Device]> {
  const { fleetseal } = site.operator
  await fleetseal('group', 'create', 'probes')
  await fleetseal('enrollment', 'create', 'probes', '--group', 'probes')
  const { token } = await fleetseal<{ token: string }>('enrollment', 'token', 'probes')
  const own = { ...site, profile: 'probes', token }
  const identityOf = async (serial: string): Promise<Device> => {
    await enroll(server, own, serial)
    const disk = await FileDisk.existing(join(server.dataDir, '..', 'devices', serial))
    const identity = await findIdentity(disk)
    if (!identity) throw new Error(`${serial} is not enrolled`)
    return { deviceId: identity.deviceId, key: identity.key, cert: identity.certificates }
  }
  return [await identityOf('PROBE-1'), await identityOf('PROBE-2')]
}
