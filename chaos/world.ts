import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { connectPostgres, type DatabaseHandle } from '../server/db/client.ts'
import { copyInstallation } from '../test/support/beside.ts'
import { hardwareId, model, openSite, type Site } from '../test/support/operator.ts'
import { type RunningPostgres, startPostgres } from '../test/support/postgres.ts'
import { type RunningServer, startServer } from '../test/support/server.ts'
import { mountSmallDisk, type SmallDisk } from '../test/support/small-disk.ts'
import { AgentsPart } from './agents.ts'
import { type Host, makeHost } from './host.ts'
import { Link } from './link.ts'
import type { Plan } from './plan.ts'

export interface Site2 {
  server: RunningServer
  host: Host | undefined
  disk: SmallDisk | undefined
  /** Holds by how much its clock is wrong; undefined without the library. */
  clockFile: string | undefined
  /** To the database. */
  database: Link
}

export interface World extends AsyncDisposable {
  folder: string
  postgres: RunningPostgres
  /** Of the test itself: not through any link. */
  handle: DatabaseHandle
  servers: readonly [Site2, Site2]
  mqtt: Link
  https: Link
  site: Site
  parts: readonly AgentsPart[]
  /** What this machine cannot do, in words. */
  skipped: readonly string[]
}

const fakeTime = '/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1'
const diskMegabytes = 192
const agentsEach = 4

/** A database, two servers, and devices that are not powered up yet, with a network between them all. */
export async function openWorld(plan: Plan): Promise<World> {
  await using stack = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'fleetseal-chaos-'))
  stack.defer(async () => await rm(folder, { recursive: true, force: true }))
  const skipped: string[] = []
  const hosts = plan.isNetworked ? [makeHost(1), makeHost(2)] : []
  for (const host of hosts) if (host) stack.use(host)
  if (hosts.includes(undefined))
    skipped.push('no hosts of their own: network namespaces and nft are for root')
  const postgres = await startPostgres()
  stack.defer(async () => await postgres.stop())
  const handle = stack.use(connectPostgres(postgres.url, { max: 3 }))

  const first = await startOne({
    plan,
    folder,
    postgres,
    stack,
    host: hosts[0],
    number: 0,
    skipped,
  })
  const second = await startOne({
    plan,
    folder,
    postgres,
    stack,
    host: hosts[1],
    number: 1,
    skipped,
    beside: first,
  })
  const targets = (name: 'mqtt' | 'device') =>
    [first, second].map(({ server, host }) => ({
      host: host?.there ?? '127.0.0.1',
      port: server.ports[name],
    }))
  const mqtt = stack.use(await Link.open(targets('mqtt')))
  const https = stack.use(await Link.open(targets('device')))
  const site = await openSite(await seenFromHere(first, stack))
  const parts = await makeParts({ first, site, folder, mqtt, https, plan })
  for (const part of parts) stack.use(part)
  const up = stack.move()
  return {
    folder,
    postgres,
    handle,
    servers: [first, second],
    mqtt,
    https,
    site,
    parts,
    skipped,
    [Symbol.asyncDispose]: () => up.disposeAsync(),
  }
}

interface Start {
  plan: Plan
  folder: string
  postgres: RunningPostgres
  stack: AsyncDisposableStack
  host: Host | undefined
  number: 0 | 1
  skipped: string[]
  beside?: Site2
}

async function startOne({
  plan,
  folder,
  postgres,
  stack,
  host,
  number,
  skipped,
  beside,
}: Start): Promise<Site2> {
  const url = new URL(postgres.url)
  const database = stack.use(
    await Link.open([{ host: '127.0.0.1', port: Number(url.port) }], host?.here),
  )
  url.host = `${host?.here ?? '127.0.0.1'}:${database.port}`
  const wantsDisk = plan.faults.some(({ kind }) => kind === 'fill-disk')
  const disk = wantsDisk ? mountSmallDisk(diskMegabytes) : undefined
  if (disk) stack.use(disk)
  else if (wantsDisk && number === 0) skipped.push('no full disk: mounting one is for root')
  const home = join(disk?.path ?? folder, `server-${number}`)
  await mkdir(home, { recursive: true, mode: 0o700 })
  if (beside) await copyInstallation(beside.server, home)
  const clock = clockOf(plan, folder, number, skipped)
  if (clock) await writeFile(clock.file, '+0\n')
  const server = stack.use(
    await startServer(
      {
        DATABASE_URL: url.href,
        FLEETSEAL_DATA_DIR: home,
        FLEETSEAL_LOG_LEVEL: 'info',
        ...(host && { FLEETSEAL_BIND: host.there }),
        ...(plan.brokers > 0 && { FLEETSEAL_BROKERS: String(plan.brokers) }),
        ...clock?.environment,
      },
      host?.wrap,
    ),
  )
  return { server, host, disk, database, clockFile: clock?.file }
}

/** The library changes what the process is told when it asks for the time of the day, and leaves its other clocks alone. */
function clockOf({ faults }: Plan, folder: string, number: number, skipped: string[]) {
  if (!faults.some(({ kind }) => kind === 'jump-clock')) return undefined
  if (!existsSync(fakeTime)) {
    if (number === 0) skipped.push('no clock jumps: libfaketime is not installed (faketime)')
    return undefined
  }
  const file = join(folder, `clock-${number}`)
  const environment = {
    LD_PRELOAD: fakeTime,
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_NO_CACHE: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
    DONT_FAKE_MONOTONIC: '1',
  }
  return { file, environment }
}

/** The same server with ports that can be reached from this machine as `localhost`. */
export async function seenFromHere(
  { server, host }: Site2,
  stack: AsyncDisposableStack,
): Promise<RunningServer> {
  if (!host) return server
  const link = async (port: number) => stack.use(await Link.open([{ host: host.there, port }])).port
  const ports = {
    api: await link(server.ports.api),
    device: await link(server.ports.device),
    mqtt: await link(server.ports.mqtt),
    public: await link(server.ports.public),
  }
  return { ...server, ports, [Symbol.asyncDispose]: async () => {} }
}

async function makeParts(given: {
  first: Site2
  site: Site
  folder: string
  mqtt: Link
  https: Link
  plan: Plan
}): Promise<AgentsPart[]> {
  const { first, site, folder, mqtt, https, plan } = given
  const root = await readFile(first.server.ca, 'utf8')
  return [0, 1, 2].map((part) => {
    const order = {
      // The last part enrolls while things go wrong.
      count: part === 2 ? 2 : agentsEach,
      dir: join(folder, `devices-${part}`),
      serialPrefix: `CHAOS-${part}-`,
      root,
      imageRoot: site.imageRoot,
      directorRoot: site.directorRoot,
      profile: site.profile,
      token: site.token,
      failing: plan.failing
        .filter((number) => Math.floor(number / agentsEach) === part)
        .map((number) => number % agentsEach),
      config: {
        serverHost: 'localhost',
        devicePort: https.port,
        mqttPort: mqtt.port,
        model,
        hardwareIds: [hardwareId],
        components: { main: { version: '1.0.0', build: 100, svn: 1 } },
        allowEvaluation: true,
        helloRetryMs: 2_000,
        reconnectMaxMs: 1_000,
      },
    }
    return new AgentsPart(order, join(folder, `agents-${part}.log`))
  })
}
