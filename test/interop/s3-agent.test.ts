import { createCipheriv } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'

import { DeviceAgent } from '../../device-sim/agent.ts'
import { enrollDevice } from '../../device-sim/enroll.ts'
import {
  hardwareId,
  model,
  openSite,
  publishRelease,
  type Site,
  startRollout,
} from '../support/operator.ts'
import { hasS3Server, S3Server } from '../support/s3-server.ts'
import { type RunningServer, startServer } from '../support/server.ts'

// The whole way: a server with a bucket, and two agents of which one may use it.
const timeout = 180_000
/** Noise, which no shorter form is made of; every time the same. */
const image = createCipheriv('aes-256-ctr', Buffer.alloc(32), Buffer.alloc(16)).update(
  Buffer.alloc(700_000),
)
let store: S3Server
let server: RunningServer
let site: Site
const agents: DeviceAgent[] = []
beforeAll(async () => {
  if (!hasS3Server) return
  store = await S3Server.start()
  await store.makeBucket()
  const { endpoint, bucket, accessKeyId, secretAccessKey } = store.settings()
  server = await startServer({
    FLEETSEAL_S3_ENDPOINT: endpoint,
    FLEETSEAL_S3_BUCKET: bucket,
    FLEETSEAL_S3_ACCESS_KEY_ID: accessKeyId,
    FLEETSEAL_S3_SECRET_ACCESS_KEY: secretAccessKey,
    FLEETSEAL_S3_REDIRECT: 'on',
    FLEETSEAL_S3_REDIRECT_SECONDS: '60',
  })
  site = await openSite(server)
}, timeout)
afterAll(async () => {
  if (!hasS3Server) return
  for (const agent of agents) await agent.stop()
  await server[Symbol.asyncDispose]()
  await store[Symbol.asyncDispose]()
})

const untilTrue = async (check: () => unknown) =>
  await vi.waitFor(check, { timeout: 90_000, interval: 200 })

async function metric(name: string): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const headers = { authorization: `Bearer ${await server.apiKey()}` }
  const options = { host: 'localhost', port: server.ports.api, path: '/metrics', headers }
  const sent = request({ ...options, ca: await readFile(server.ca) }, (response) => {
    let text = ''
    response.on('data', (piece: Buffer) => (text += piece.toString()))
    response.on('end', () => resolve(text))
  })
  sent.on('error', reject).end()
  const line = (await promise).split('\n').find((one) => one.startsWith(`${name} `))
  return Number(line?.split(' ')[1] ?? 0)
}

async function powerUp(serialNumber: string, redirectHosts: { host: string }[]) {
  const dir = join(server.dataDir, '..', serialNumber)
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
      components: { main: { version: '1.0.0', build: 1, svn: 1 } },
      serialNumber,
      allowEvaluation: true,
      redirectHosts,
    },
  })
  const started = new DeviceAgent({ dir })
  agents.push(started)
  await started.start()
  return started
}

describe.skipIf(!hasS3Server)('a rollout from a bucket', () => {
  test('sends who asks to the store, and the others the bytes', { timeout }, async () => {
    const { fleetseal } = site.operator
    const follows = await powerUp('D-1', [{ host: new URL(store.url).host }])
    const stays = await powerUp('D-2', [])
    const devices = async () => await fleetseal<{ installed: unknown[] }[]>('device', 'list')
    await untilTrue(async () =>
      expect((await devices()).map(({ installed }) => installed.length)).toEqual([1, 1]),
    )
    const facts = { version: '1.1.0', build: 2, image, metadataVersion: 1 }
    await startRollout(site, await publishRelease(site, facts))
    for (const device of [follows, stays])
      await untilTrue(() => expect(device.status()?.task?.state).toBe('succeeded'))
    expect(await metric('fleetseal_artifact_answers_total{way="redirect"}')).toBe(1)
    expect(await metric('fleetseal_artifact_answers_total{way="direct"}')).toBe(1)
    expect(await metric('fleetseal_artifact_bytes_total')).toBe(image.length)
    const events = await fleetseal<{ kind: string }[]>('events', 'list')
    expect(events.map(({ kind }) => kind)).not.toContain('delivery-fallback')
    expect(server.output()).not.toMatch(/X-Amz|test-secret/)
  })
})
