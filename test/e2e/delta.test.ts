import { readFile, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test, vi } from 'vitest'

import { DeviceAgent } from '../../device-sim/agent.ts'
import { enrollDevice } from '../../device-sim/enroll.ts'
import { twoImages } from '../support/delta-fixture.ts'
import {
  hardwareId,
  model,
  openSite,
  publishRelease,
  type Site,
  startRollout,
} from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'

// The whole way of a delta: made by the server from what devices run, named by the director, rebuilt by the agent.
const { old, next } = twoImages(400_000)
let server: RunningServer
let site: Site
let agent: DeviceAgent | undefined
beforeAll(async () => {
  server = await startServer()
  site = await openSite(server)
})
afterAll(async () => {
  await agent?.stop()
  await server[Symbol.asyncDispose]()
})

const untilTrue = async (check: () => unknown) =>
  await vi.waitFor(check, { timeout: 90_000, interval: 200 })

async function sentBytes(): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const headers = { authorization: `Bearer ${await server.apiKey()}` }
  const options = { host: 'localhost', port: server.ports.api, path: '/metrics', headers }
  const sent = request({ ...options, ca: await readFile(server.ca) }, (response) => {
    let text = ''
    response.on('data', (piece: Buffer) => (text += piece.toString()))
    response.on('end', () => resolve(text))
  })
  sent.on('error', reject).end()
  return Number(/^fleetseal_artifact_bytes_total (\d+)/m.exec(await promise)?.[1] ?? Number.NaN)
}

async function powerUp(): Promise<DeviceAgent> {
  const dir = join(server.dataDir, '..', 'device')
  await enrollDevice({
    dir,
    root: await readFile(server.ca, 'utf8'),
    imageRoot: site.imageRoot,
    directorRoot: site.directorRoot,
    profile: site.profile,
    token: site.token,
    images: { main: old },
    config: {
      format: 1,
      serverHost: 'localhost',
      devicePort: server.ports.device,
      mqttPort: server.ports.mqtt,
      model,
      hardwareIds: [hardwareId],
      components: { main: { version: '1.0.0', build: 1, svn: 1 } },
      serialNumber: 'D-1',
      allowEvaluation: true,
    },
  })
  const started = new DeviceAgent({ dir })
  agent = started
  await started.start()
  return started
}

test('an agent takes an update as a delta, and the server sends a fraction of the image', async () => {
  const { fleetseal } = site.operator
  const factory = join(server.dataDir, '..', 'factory.bin')
  await writeFile(factory, old)
  await fleetseal('artifact', 'upload', factory)
  const device = await powerUp()
  // The planner looks at what devices say they run.
  const devices = async () => await fleetseal<{ installed: unknown[] }[]>('device', 'list')
  await untilTrue(async () => expect((await devices())[0]?.installed).toHaveLength(1))
  const release = await publishRelease(site, {
    version: '1.1.0',
    build: 2,
    image: next,
    metadataVersion: 1,
  })
  const forms = async () =>
    await fleetseal<{ method: string; state: string; reason: string | null }[]>(
      'release',
      'delivery',
      `${model}/main/1.1.0`,
    )
  await untilTrue(async () => expect((await forms()).map(({ state }) => state)).not.toEqual([]))
  await untilTrue(async () =>
    expect(new Set((await forms()).map(({ method, state }) => `${method} ${state}`))).toEqual(
      // Noise does not compress: there is a delta and no zstd image.
      new Set(['delta-z1 made', 'zstd refused']),
    ),
  )
  const before = await sentBytes()
  await startRollout(site, release)
  await untilTrue(() => expect(device.status()?.task?.state).toBe('succeeded'))
  const sent = (await sentBytes()) - before
  expect(sent).toBeGreaterThan(0)
  expect(sent).toBeLessThan(next.length / 10)
  const events = await fleetseal<{ kind: string }[]>('events', 'list')
  expect(events.map(({ kind }) => kind)).not.toContain('delivery-fallback')
})
