import { type ChildProcess, spawn } from 'node:child_process'
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
import { freePort } from '../test/support/postgres.ts'
import { type RunningServer, startServer } from '../test/support/server.ts'
import type { Bench, Env } from './bench.ts'
import { cpuOf } from './cpu.ts'
import { type Client, clientOf, connects } from './load.ts'
import { beside, missing, type Row } from './row.ts'

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
export const benchConnect: Bench = {
  name: 'connect',
  title: 'Connecting',
  budgets: ['connect-mosquitto', 'connect-tls'],
  run,
}

async function run(env: Env): Promise<Row[]> {
  const { say } = env
  const folder = await mkdtemp(join(tmpdir(), 'fleetseal-bench-'))
  const { url } = await env.database()
  const server = await startServer({ DATABASE_URL: url, FLEETSEAL_LOG_LEVEL: 'warn' })
  const targets: Target[] = []
  try {
    targets.push(await fleetseal(server, folder, say))
    const clients = await writePki(folder)
    targets.push(await bareTls(folder, clients))
    const peer = await mosquitto(env, folder, clients)
    if (peer) targets.push(peer)
    return await measure(targets, env)
  } finally {
    for (const target of targets) await target.end()
    await server[Symbol.asyncDispose]()
    await rm(folder, { recursive: true, force: true })
  }
}

async function measure(targets: readonly Target[], env: Env): Promise<Row[]> {
  const { rounds, say } = env
  const count = env.pick(400, 200, 16)
  for (const { port, clients } of targets) {
    await connects(port, clients, { count: env.pick(200, 100, 8), parallel })
  }
  const costs = new Map(targets.map(({ name }) => [name, [] as number[]]))
  for (let round = 1; round <= rounds; round++) {
    say(`connects, round ${round} of ${rounds}`)
    for (const { name, pid, port, clients } of targets) {
      const cpu = await cpuOf(pid, async () => await connects(port, clients, { count, parallel }))
      costs.get(name)?.push(cpu / count)
    }
  }
  const ours = costs.get('fleetseal') ?? []
  const what = 'full mTLS connect, server CPU'
  const besides = (name: string, budget: 'connect-mosquitto' | 'connect-tls') => {
    const peer = costs.get(name)
    return peer === undefined
      ? missing(`${what}, beside ${name}`, budget, `${name} is not installed`)
      : beside(what, { ours, peer, name, budget, unit: 'ms', digits: 3 })
  }
  return [besides('mosquitto', 'connect-mosquitto'), besides('node:tls', 'connect-tls')]
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

async function mosquitto(
  env: Env,
  folder: string,
  clients: readonly Client[],
): Promise<Target | undefined> {
  const found = env.peer('mosquitto')
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
