import { createPrivateKey, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type AddressInfo, connect as connectTcp, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'

import { createClient } from '../../cli/client.ts'
import { DeviceAgent } from '../../device-sim/agent.ts'
import { FileDisk } from '../../device-sim/disk.ts'
import { enrollDevice, type Enrollment } from '../../device-sim/enroll.ts'
import { findIdentity } from '../../device-sim/identity.ts'
import { keyFamilyIn } from '../../pki/keys.ts'
import {
  hardwareId,
  model,
  openSite,
  publishRelease,
  type Site,
  startRollout,
} from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'

let server: RunningServer
let site: Site
let root: string
const agents: DeviceAgent[] = []

beforeAll(async () => {
  server = await startServer()
  site = await openSite(server)
  root = await readFile(server.ca, 'utf8')
})
afterAll(async () => {
  await Promise.all(agents.map(async (agent) => await agent.stop()))
  await server[Symbol.asyncDispose]()
})

type KeyAlgorithm = 'P-256' | 'ML-DSA-44' | 'ML-DSA-65' | 'ML-DSA-87'

function enrollment(serial: string, keyAlgorithm: KeyAlgorithm, profile = site): Enrollment {
  return {
    dir: join(server.dataDir, '..', 'devices', serial),
    root,
    imageRoot: site.imageRoot,
    directorRoot: site.directorRoot,
    profile: profile.profile,
    token: profile.token,
    config: {
      format: 1,
      serverHost: 'localhost',
      devicePort: server.ports.device,
      mqttPort: server.ports.mqtt,
      model,
      hardwareIds: [hardwareId],
      components: { main: { version: '1.0.0', build: 100, svn: 1 } },
      serialNumber: serial,
      keyAlgorithm,
      allowEvaluation: true,
      helloRetryMs: 2_000,
      reconnectMaxMs: 500,
    },
  }
}

async function until(holds: () => boolean | Promise<boolean>, limitMs = 30_000): Promise<void> {
  const end = Date.now() + limitMs
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${holds.toString()}`)
    await sleep(25)
  }
}

describe('a device with an ML-DSA key', () => {
  test('enrolls, connects over MQTT and updates', async () => {
    const given = enrollment('PQ-1', 'ML-DSA-65')
    await enrollDevice(given)
    const identity = await findIdentity(await FileDisk.open(given.dir))
    expect(createPrivateKey(identity?.key ?? '').asymmetricKeyType).toBe('ml-dsa-65')
    expect(identity && keyFamilyIn(identity.leaf.spki)).toBe('ML-DSA-65')

    const agent = new DeviceAgent({ dir: given.dir })
    agents.push(agent)
    await agent.start()
    await until(() => agent.status()?.connected === true)
    await site.operator.fleetseal('group', 'create', 'pq')
    await site.operator.fleetseal('group', 'add', 'pq', 'PQ-1')
    const image = randomBytes(200_000)
    const release = { version: '2.0.1', build: 101, svn: 1, image, metadataVersion: 1 }
    await startRollout(site, await publishRelease(site, release), 'pq')
    await until(() => agent.status()?.installed[0]?.version === '2.0.1')

    await site.operator.fleetseal('device', 'disable', 'PQ-1', '--reason', 'test')
    await until(() => agent.status()?.connected === false)
  })

  test.each(['ML-DSA-44', 'ML-DSA-87'] as const)('enrolls with %s', async (algorithm) => {
    const given = enrollment(`PQ-${algorithm}`, algorithm)
    await enrollDevice(given)
    const identity = await findIdentity(await FileDisk.open(given.dir))
    expect(identity && keyFamilyIn(identity.leaf.spki)).toBe(algorithm)
  })

  test('is what a profile can require', async () => {
    const name = 'post-quantum-only'
    const group = await site.operator.fleetseal<{ id: string }>('group', 'create', name)
    using api = createClient({
      server: `https://localhost:${server.ports.api}`,
      ca: root,
      apiKey: await server.apiKey(),
    })
    await api.create(z.object({ id: z.string() }), '/enrollment-profiles', {
      name,
      groupId: group.id,
      auth: { type: 'token' },
      registration: 'just-in-time',
      keyPolicy: ['ML-DSA-65', 'ML-DSA-87'],
    })
    const { token } = await site.operator.fleetseal<{ token: string }>('enrollment', 'token', name)
    const line = { ...site, profile: name, token }
    await expect(enrollDevice(enrollment('PQ-2', 'P-256', line))).rejects.toThrow('ML-DSA-65')
    await enrollDevice(enrollment('PQ-3', 'ML-DSA-65', line))
  })
})

/** One handshake, with what the server said first. */
async function handshake(port: number, options: ConnectionOptions = {}) {
  const sent: Buffer[] = []
  const proxy = createServer((client) => {
    const upstream = connectTcp(port, '127.0.0.1')
    upstream.on('data', (chunk: Buffer) => sent.push(chunk))
    client.pipe(upstream).pipe(client)
    for (const socket of [client, upstream]) socket.on('error', () => {})
  }).listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  const socket = connect({
    host: '127.0.0.1',
    port: (proxy.address() as AddressInfo).port,
    servername: 'localhost',
    ca: root,
    ALPNProtocols: [],
    ...options,
  })
  try {
    await once(socket, 'secureConnect')
    return {
      group: groupIn(Buffer.concat(sent)),
      key: keyOf(socket),
      version: socket.getProtocol(),
    }
  } finally {
    socket.destroy()
    proxy.close()
  }
}

const keyOf = (socket: TLSSocket) => socket.getPeerX509Certificate()?.publicKey.asymmetricKeyType

/** NamedGroup of the key share in a ServerHello (RFC 8446 §4.1.3, §4.2.8); undefined where there is none. */
function groupIn(bytes: Buffer): number | undefined {
  expect([bytes[0], bytes[5]]).toEqual([22, 2])
  const sessionAt = 5 + 4 + 2 + 32
  let at = sessionAt + 1 + (bytes[sessionAt] ?? 0) + 3
  const end = at + 2 + bytes.readUInt16BE(at)
  for (at += 2; at < end; at += 4 + bytes.readUInt16BE(at + 2)) {
    if (bytes.readUInt16BE(at) === 51) return bytes.readUInt16BE(at + 4)
  }
  return undefined
}

const x25519MlKem768 = 0x11ec

describe.each(['api', 'device', 'mqtt'] as const)('the %s port', (name) => {
  const port = () => server.ports[name]

  test('agrees on keys with X25519MLKEM768 unless a peer does not know it', async () => {
    expect((await handshake(port())).group).toBe(x25519MlKem768)
    expect((await handshake(port(), { ecdhCurve: 'X25519' })).group).toBe(0x001d)
  })

  test('proves itself with an EC key, and with ML-DSA to whoever insists', async () => {
    expect((await handshake(port())).key).toBe('ec')
    expect((await handshake(port(), { sigalgs: 'mldsa65:mldsa87' })).key).toBe('ml-dsa-65')
    // The broker ends a TLS 1.2 connection without a certificate before its client has finished.
    if (name === 'mqtt') return
    const old = await handshake(port(), { maxVersion: 'TLSv1.2' })
    expect([old.version, old.key]).toEqual(['TLSv1.2', 'ec'])
  })
})
