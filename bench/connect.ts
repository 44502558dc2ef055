import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { FileDisk } from '../device-sim/disk.ts'
import { enrollDevice } from '../device-sim/enroll.ts'
import { findIdentity } from '../device-sim/identity.ts'
import { createBrokerPki } from '../test/support/broker-pki.ts'
import { hardwareId, model, openSite } from '../test/support/operator.ts'
import { freePort, startPostgres } from '../test/support/postgres.ts'
import { type RunningServer, startServer } from '../test/support/server.ts'
import { cpuOf, median } from './cpu.ts'
import { type Client, clientOf, connects } from './load.ts'
import { plain, ratio, type Row } from './row.ts'

const rounds = 5
const count = 400
const parallel = 8
const devices = 24

interface Target {
  name: string
  pid: number
  port: number
  clients: readonly Client[]
  end: () => Promise<unknown>
}

/**
 * Connect cost (broker.md G1): our whole server, on PostgreSQL, beside bare node:tls and mosquitto. CPU time of each server's
 * process, interleaved by round, the median of the rounds; handshakes are full and TLS 1.3.
 */
export async function benchConnect(say: (line: string) => void): Promise<Row[]> {
  const folder = await mkdtemp(join(tmpdir(), 'fleetseal-bench-'))
  const postgres = await startPostgres()
  const server = await startServer({ DATABASE_URL: postgres.url, FLEETSEAL_LOG_LEVEL: 'warn' })
  const targets: Target[] = []
  try {
    targets.push(await fleetseal(server, folder, say))
    const clients = await writePki(folder)
    targets.push(await bareTls(folder, clients))
    const peer = await mosquitto(folder, clients)
    if (peer) targets.push(peer)
    else say('  mosquitto is not installed: its figures are left out')
    return await measure(targets, say)
  } finally {
    for (const target of targets) await target.end()
    await server[Symbol.asyncDispose]()
    await postgres.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

async function measure(targets: readonly Target[], say: (line: string) => void): Promise<Row[]> {
  for (const { port, clients } of targets) await connects(port, clients, { count: 200, parallel })
  const costs = new Map(targets.map(({ name }) => [name, [] as number[]]))
  for (let round = 1; round <= rounds; round++) {
    say(`  connects, round ${round} of ${rounds}`)
    for (const { name, pid, port, clients } of targets) {
      const cpu = await cpuOf(pid, async () => await connects(port, clients, { count, parallel }))
      costs.get(name)?.push(cpu / count)
    }
  }
  const cost = (name: string) => median(costs.get(name) ?? [])
  const rows = targets.map(({ name }) =>
    plain(`full mTLS connect, ${name}, server CPU ms`, cost(name).toFixed(3)),
  )
  rows.push(ratio('… of bare node:tls', cost('fleetseal'), cost('node:tls'), 1.6))
  if (costs.has('mosquitto')) {
    rows.push(ratio('… of mosquitto', cost('fleetseal'), cost('mosquitto'), 1.05))
  }
  return rows
}

async function fleetseal(
  server: RunningServer,
  folder: string,
  say: (line: string) => void,
): Promise<Target> {
  const site = await openSite(server)
  const root = await readFile(server.ca, 'utf8')
  const clients: Client[] = []
  for (let number = 1; number <= devices; number++) {
    const dir = join(folder, `device-${number}`)
    const deviceId = await enrollDevice({
      dir,
      root,
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
        components: { main: { version: '1.0.0', build: 1, svn: 0 } },
        serialNumber: `B-${number}`,
        allowEvaluation: true,
      },
    })
    const identity = await findIdentity(await FileDisk.open(dir))
    if (!identity) throw new Error('No identity after enrollment')
    clients.push(clientOf(deviceId, identity.key, identity.certificates, root))
  }
  say(`  ${devices} devices enrolled`)
  return {
    name: 'fleetseal',
    pid: server.pid(),
    port: server.ports.mqtt,
    clients,
    end: async () => {},
  }
}

/** One authority, server and devices for both peers, as plain as ours. */
async function writePki(folder: string): Promise<Client[]> {
  const pki = await createBrokerPki()
  await writeFile(join(folder, 'ca.pem'), pki.authorities.clientCa.join(''))
  await writeFile(join(folder, 'server.key'), pki.authorities.tls.key)
  await writeFile(join(folder, 'server.pem'), pki.authorities.tls.cert)
  const made = await Promise.all(Array.from({ length: devices }, async () => await pki.device()))
  return made.map(({ deviceId, key, cert }) => clientOf(deviceId, key, cert, pki.rootPem))
}

async function bareTls(folder: string, clients: readonly Client[]): Promise<Target> {
  const script = fileURLToPath(new URL('tls-server.ts', import.meta.url))
  const child = spawn(process.execPath, [script, folder], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  const port = Number(/port (\d+)/.exec(line.toString())?.[1])
  return { name: 'node:tls', pid: child.pid ?? 0, port, clients, end: () => ended(child) }
}

async function mosquitto(folder: string, clients: readonly Client[]): Promise<Target | undefined> {
  const found = ['/usr/sbin/mosquitto', '/usr/bin/mosquitto', '/usr/local/sbin/mosquitto'].find(
    (path) => spawnSync(path, ['-h']).error === undefined,
  )
  if (!found) return undefined
  const port = await freePort()
  const file = join(folder, 'mosquitto.conf')
  const lines = [
    `listener ${port} 127.0.0.1`,
    `cafile ${folder}/ca.pem`,
    `certfile ${folder}/server.pem`,
    `keyfile ${folder}/server.key`,
    'require_certificate true',
    'use_identity_as_username true',
    'persistence false',
    'log_dest none',
    'set_tcp_nodelay true',
    'user root',
  ]
  await writeFile(file, `${lines.join('\n')}\n`)
  const child = spawn(found, ['-c', file], { stdio: 'ignore' })
  await sleep(500)
  return { name: 'mosquitto', pid: child.pid ?? 0, port, clients, end: () => ended(child) }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill()
  await exit
}
