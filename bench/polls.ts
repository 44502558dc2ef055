import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import pg from 'pg'

import { FileDisk } from '../device-sim/disk.ts'
import { enrollDevice } from '../device-sim/enroll.ts'
import { findIdentity } from '../device-sim/identity.ts'
import { createBrokerPki } from '../test/support/broker-pki.ts'
import {
  hardwareId,
  model,
  openSite,
  publishRelease,
  type Site,
  startRollout,
} from '../test/support/operator.ts'
import { watchHerd } from '../test/support/poll-herd.ts'
import { type RunningServer, startServer } from '../test/support/server.ts'
import type { Bench, Env } from './bench.ts'
import { cpuOf, median } from './cpu.ts'
import { clientOf } from './load.ts'
import { Poller, polls } from './poller.ts'
import { figure, plain, type Row } from './row.ts'

/** A device may poll 30 times at once and then once a second: who has used that up rests. */
const atOnce = 30
const restMs = 21_000
const parallel = 16
const target = 5_000

/**
 * Polls (ddi.md): devices with nothing to do and with an update, over connections with mutual TLS that stand already, from the whole server on
 * PostgreSQL beside bare node:https; and a herd of 100,000 in virtual time.
 */
export const benchPolls: Bench = {
  name: 'polls',
  title: 'Polls',
  budgets: ['poll-reads'],
  run,
}

async function run(env: Env): Promise<Row[]> {
  const { say, quick, rounds } = env
  const each = env.pick(20, 5, 2)
  const devices = env.pick(Number(process.env['FLEETSEAL_BENCH_POLLERS'] ?? 200), 60, 16)
  const herd = quick ? [] : benchHerd(say)
  const folder = await mkdtemp(join(tmpdir(), 'fleetseal-bench-'))
  const { url } = await env.database()
  const server = await startServer({ DATABASE_URL: url, FLEETSEAL_LOG_LEVEL: 'warn' })
  const database = new pg.Client({ connectionString: url })
  let bare: Bare | undefined
  let pollers: Poller[] = []
  try {
    await database.connect()
    const site = await openSite(server)
    pollers = await enrolled(server, site, { folder, devices, say })
    bare = await bareServer(folder, devices)
    const idle = await measureIdle({ server, pollers, bare, database, say, each, rounds })
    if (quick) return idle
    return [...idle, ...(await measureOffers({ server, site, pollers, say })), ...herd]
  } finally {
    for (const poller of pollers) poller.close()
    await bare?.end()
    await database.end()
    await server[Symbol.asyncDispose]()
    await rm(folder, { recursive: true, force: true })
  }
}

interface Polled {
  server: RunningServer
  pollers: readonly Poller[]
  say: (line: string) => void
}

async function measureIdle({
  server,
  pollers,
  bare,
  database,
  say,
  each,
  rounds,
}: Polled & {
  bare: Bare
  database: pg.Client
  each: number
  rounds: number
}): Promise<Row[]> {
  const rates = new Map([
    ['fleetseal', [] as number[]],
    ['node:https', [] as number[]],
  ])
  let took: number[] = []
  const statements: number[] = []
  const all = pollers.length * each
  for (let round = 0; round <= rounds; round++) {
    for (const [name, some, pid] of [
      ['fleetseal', pollers, server.pid()],
      ['node:https', bare.pollers, bare.pid],
    ] as const) {
      // Connected anew where it was idle for long, and read where it was forgotten.
      await polls(some, { each: 1, parallel })
      const before = name === 'fleetseal' ? await committed(database) : 0
      let times: number[] = []
      const ms = await cpuOf(pid, async () => {
        times = await polls(some, { each, parallel })
      })
      const rate = all / (ms / 1_000)
      say(`  round ${round}: ${name} ${rate.toFixed(0)} polls a CPU second`)
      if (round === 0) continue
      rates.get(name)?.push(rate)
      if (name !== 'fleetseal') continue
      statements.push((await committed(database)) - before)
      took = took.concat(times)
    }
    if ((each + 1) * (rounds + 1) > atOnce) await sleep(restMs)
  }
  const rate = (name: string) => median(rates.get(name) ?? [])
  const sorted = took.toSorted((a, b) => a - b)
  const at = (share: number) => (sorted[Math.floor(sorted.length * share)] ?? 0).toFixed(1)
  const ours = rate('fleetseal')
  return [
    {
      what: 'polls with nothing to do, fleetseal, a CPU second',
      figure: ours.toFixed(0),
      target: `≥ ${target}`,
      met: ours >= target,
    },
    plain('… bare node:https', rate('node:https').toFixed(0)),
    plain('… beside it', (ours / rate('node:https')).toFixed(2)),
    figure('a poll with nothing to do, PostgreSQL transactions, workers included', {
      values: statements.map((count) => count / all),
      unit: 'reads',
      digits: 3,
      budget: 'poll-reads',
    }),
    plain(`… ${parallel} at a time: median, 99 of 100, ms`, `${at(0.5)}, ${at(0.99)}`),
  ]
}

/** Everybody is offered an update, and fetches what it is. */
async function measureOffers({
  server,
  site,
  pollers,
  say,
}: Polled & { site: Site }): Promise<Row[]> {
  const devices = pollers.length
  const image = Buffer.alloc(100_000, 7)
  const names = { fileName: 'gate.bin', metadataVersion: 1 }
  const release = await publishRelease(site, { version: '2.0.0', build: 100, image, ...names })
  await startRollout(site, release)
  await sleep(2_000)
  let answers: string[] = []
  const ms = await cpuOf(server.pid(), async () => {
    answers = await Promise.all(pollers.map(async (poller) => await poller.poll()))
  })
  const offered = answers.filter((answer) => answer.includes('deploymentBase')).length
  say(`  ${offered} of ${devices} are offered the update`)
  await sleep(restMs)
  const again = await cpuOf(server.pid(), async () => {
    await polls(pollers, { each: 10, parallel })
  })
  return [
    plain(
      'first polls that get an offer, all at once, a CPU second',
      (devices / (ms / 1_000)).toFixed(0),
    ),
    plain('… of them offered', `${offered} of ${devices}`),
    plain(
      'polls while an update is open, a CPU second',
      ((devices * 10) / (again / 1_000)).toFixed(0),
    ),
  ]
}

function benchHerd(say: (line: string) => void): Row[] {
  const count = 100_000
  const load = { target: 2_000, reads: 2_000, atOnce: 4_000 }
  const given = { devices: count, pollSeconds: 300, withinSeconds: 10, seconds: 3_600, load }
  const seen = watchHerd(given)
  const sum = (all: readonly number[]) => all.reduce((before, one) => before + one, 0)
  const minutes = Array.from({ length: 60 }, (_, n) => sum(seen.polls.slice(n * 60, n * 60 + 60)))
  say(`  herd, polls a minute: ${minutes.join(' ')}`)
  const calm = seen.polls.slice(-900)
  return [
    plain(
      '100,000 switched on within 10 s (virtual): all answered after, s',
      `${seen.allAnsweredAt}`,
    ),
    plain('… most reads in a second', `${Math.max(...seen.reads)}`),
    plain('… refused, of all polls in the hour', `${sum(seen.refused)} of ${sum(seen.polls)}`),
    plain('… most polls in a second of the last quarter', `${Math.max(...calm)}`),
    plain('… mean of it', (sum(calm) / calm.length).toFixed(0)),
  ]
}

/** Transactions of the database so far; a statement outside of one is one. */
async function committed(database: pg.Client): Promise<number> {
  // What a connection did is told when it has been idle for a moment.
  await sleep(1_500)
  const { rows } = await database.query<{ n: string }>(
    'select xact_commit::text as n from pg_stat_database where datname = current_database()',
  )
  return Number(rows[0]?.n)
}

async function enrolled(
  server: RunningServer,
  site: Site,
  { folder, devices, say }: { folder: string; devices: number; say: (line: string) => void },
): Promise<Poller[]> {
  const { fleetseal } = site.operator
  const proof = ['--component', 'main', '--version-attribute', 'swVersion']
  await fleetseal('ddi', 'model', model, 'generic', ...proof)
  await fleetseal('ddi', 'profile', site.profile, model, hardwareId)
  const root = await readFile(server.ca, 'utf8')
  const numbers = Array.from({ length: devices }, (_, number) => number)
  const made: Poller[] = []
  const one = async (number: number) => {
    const dir = join(folder, `device-${number}`)
    const { device: devicePort, mqtt: mqttPort } = server.ports
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
        devicePort,
        mqttPort,
        model,
        hardwareIds: [hardwareId],
        components: { main: { version: '1.0.0', build: 1, svn: 0 } },
        serialNumber: `P-${number}`,
        allowEvaluation: true,
      },
    })
    const identity = await findIdentity(await FileDisk.open(dir))
    if (!identity) throw new Error('No identity after enrollment')
    const { context } = clientOf(deviceId, identity.key, identity.certificates, root)
    await sayVersion(devicePort, deviceId, {
      key: identity.key,
      cert: identity.certificates,
      ca: root,
    })
    made.push(new Poller(devicePort, context, `/DEFAULT/controller/v1/${deviceId}`))
  }
  const lanes = Array.from({ length: 8 }, async () => {
    for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
      await one(number)
    }
  })
  await Promise.all(lanes)
  say(`  ${devices} devices enrolled`)
  return made
}

/** As SWUpdate does once after every start. */
async function sayVersion(
  port: number,
  deviceId: string,
  tls: { key: string; cert: string; ca: string },
): Promise<void> {
  const answer = Promise.withResolvers<number | undefined>()
  const path = `/DEFAULT/controller/v1/${deviceId}/configData`
  const sent = request({ host: 'localhost', port, path, method: 'PUT', agent: false, ...tls })
  sent.on('error', answer.reject)
  sent.on('response', (response) => {
    response.resume()
    response.on('end', () => answer.resolve(response.statusCode))
  })
  sent.end(JSON.stringify({ data: { swVersion: '1.0.0' } }))
  const status = await answer.promise
  if (status !== 200) throw new Error(`The version was answered ${status}`)
}

interface Bare {
  pid: number
  pollers: Poller[]
  end: () => Promise<void>
}

async function bareServer(folder: string, devices: number): Promise<Bare> {
  const pki = await createBrokerPki()
  await writeFile(join(folder, 'ca.pem'), pki.authorities.clientCa.join(''))
  await writeFile(join(folder, 'server.key'), pki.authorities.tls.key)
  await writeFile(join(folder, 'server.pem'), pki.authorities.tls.cert)
  const script = fileURLToPath(new URL('poll-server.ts', import.meta.url))
  const child = spawn(process.execPath, [script, folder], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  const port = Number(/port (\d+)/.exec(line.toString())?.[1])
  const pollers: Poller[] = []
  for (let n = 0; n < devices; n++) {
    const { deviceId, key, cert } = await pki.device()
    const { context } = clientOf(deviceId, key, cert, pki.rootPem)
    pollers.push(new Poller(port, context, `/DEFAULT/controller/v1/${deviceId}`))
  }
  return {
    pid: child.pid ?? 0,
    pollers,
    end: async () => {
      for (const poller of pollers) poller.close()
      const exit = once(child, 'exit')
      child.kill()
      await exit
    },
  }
}
