import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

import pg from 'pg'

import { openSite, publishRelease, type Site } from '../test/support/operator.ts'
import { startPostgres } from '../test/support/postgres.ts'
import { probe } from '../test/support/probe.ts'
import { type RunningServer, startServer } from '../test/support/server.ts'
import { SoakFleet } from './soak/fleet.ts'
import { enrollProbes, startProbes } from './soak/probes.ts'
import { report } from './soak/report.ts'
import { largestTables, sample, type Sample } from './soak/sample.ts'
import { judgeSoak } from './soak/verdict.ts'
import { Work } from './soak/work.ts'

/*
 * `npm run soak -- --minutes 60 --devices 2000`: a fleet of real agents that updates, renews its certificates and loses power, and what
 * the server holds meanwhile. Ends with 1 when something grew that should not have, or when work was left undone.
 */

const usage = `npm run soak [-- --minutes N --devices N --brokers N --json FILE]

  --minutes N   how long, after the fleet is up: 6 to 1440 (60); 10 is the short form
  --devices N   real agents, 10 to 5000 (2000, of the short form 500)
  --brokers N   broker processes of the server (0: in the one process)
  --json FILE   everything that was measured
`
const sampleMs = 5_000
const churnShare = 0.01

interface Options {
  minutes: number
  devices: number
  brokers: number
  json: string | undefined
}

function readOptions(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      minutes: { type: 'string', default: '60' },
      devices: { type: 'string' },
      brokers: { type: 'string', default: '0' },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) throw new Error('')
  const within = (name: string, text: string, least: number, most: number) => {
    const n = Number(text)
    if (Number.isInteger(n) && n >= least && n <= most) return n
    throw new Error(`--${name} takes a number from ${least} to ${most}`)
  }
  const minutes = within('minutes', values.minutes, 6, 1_440)
  return {
    minutes,
    devices: within('devices', values.devices ?? (minutes < 30 ? '500' : '2000'), 10, 5_000),
    brokers: within('brokers', values.brokers, 0, 8),
    json: values.json,
  }
}

const say = (line: string) => console.error(`${new Date().toISOString().slice(11, 19)}  ${line}`)

function startFleet(
  server: RunningServer,
  site: Site,
  root: string,
  devices: number,
  dir: string,
): SoakFleet {
  return new SoakFleet(devices, {
    dir,
    root,
    imageRoot: site.imageRoot,
    directorRoot: site.directorRoot,
    profile: site.profile,
    token: site.token,
    spreadMs: devices * 10,
    churnPerMinute: Math.max(1, devices * churnShare),
    config: {
      serverHost: 'localhost',
      devicePort: server.ports.device,
      mqttPort: server.ports.mqtt,
      model: 'gate-2',
      hardwareIds: ['gate-2-r3'],
      components: { main: { version: '1.0.0', build: 100, svn: 1 } },
      allowEvaluation: true,
    },
  })
}

/** All enrolled, up and connected. */
async function comeUp(fleet: SoakFleet, devices: number): Promise<void> {
  const end = performance.now() + 60_000 + devices * 500
  for (let turn = 0; ; turn++) {
    const { up, connected } = fleet.now()
    if (turn % 30 === 0) say(`${connected} of ${devices} devices are connected`)
    if (up && connected >= devices * 0.98) return
    if (performance.now() > end) throw new Error(`only ${connected} devices came up`)
    await sleep(1_000)
  }
}

async function soak(options: Options): Promise<number> {
  const { minutes, devices, brokers } = options
  await using stack = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'fleetseal-soak-'))
  stack.defer(async () => await rm(folder, { recursive: true, force: true }))
  const postgres = await startPostgres()
  stack.defer(async () => await postgres.stop())
  const server = stack.use(
    await startServer({
      DATABASE_URL: postgres.url,
      FLEETSEAL_LOG_LEVEL: 'warn',
      ...(brokers > 0 && { FLEETSEAL_BROKERS: String(brokers) }),
    }),
  )
  const database = new pg.Client(postgres.url)
  await database.connect()
  stack.defer(async () => await database.end())
  const site = await openSite(server)
  const measured = await enrollProbes(server, site)
  const root = await readFile(server.ca, 'utf8')
  const fleet = stack.use(startFleet(server, site, root, devices, join(folder, 'devices')))
  await comeUp(fleet, devices)

  const startedMs = performance.now()
  const endMs = startedMs + minutes * 60_000
  const probes = await startProbes(server, measured, startedMs)
  const samples: Sample[] = []
  const work = new Work({ site, fleet, database, devices, minutes, say, publish: publishRelease })
  const working = work.run(endMs)
  for (let turn = 0; performance.now() < endMs; turn++) {
    const { body } = await probe(server, '/metrics')
    const at = performance.now() - startedMs
    samples.push(await sample(server.pid(), String(body), database, at))
    if (turn % 12 === 0) say(lineOf(samples.at(-1), fleet))
    await sleep(sampleMs)
  }
  await working
  await probes.end()
  const facts = { samples, latencies: probes.latencies, cycles: work.cycles }
  const findings = judgeSoak(facts)
  const tables = await largestTables(database)
  const end = fleet.now()
  const wrong = [
    ...work.undone,
    ...Object.entries(probes.failures).map(([what, n]) => `${what} (${n})`),
  ]
  console.log(
    report({ minutes, devices, brokers, findings, tables, end, wrong, cycles: work.cycles }),
  )
  if (options.json !== undefined) {
    const all = { ...facts, findings, tables, end, wrong }
    await writeFile(options.json, `${JSON.stringify(all, undefined, 1)}\n`)
  }
  return wrong.length === 0 && findings.every(({ flat }) => flat) ? 0 : 1
}

function lineOf(one: Sample | undefined, fleet: SoakFleet): string {
  const { renewed, restarts, succeeded } = fleet.now()
  const updates = Object.values(succeeded).reduce((sum, n) => sum + n, 0)
  const mb = (bytes = 0) => `${(bytes / 1e6).toFixed(0)} MB`
  return `${one?.connected} connected, ${updates} updates, ${renewed} renewals, ${restarts} restarts; memory ${mb(one?.residentBytes)}, heap ${mb(one?.heapBytes)}, handles ${one?.handles}, database ${mb(one?.databaseBytes)}`
}

try {
  process.exitCode = await soak(readOptions(process.argv.slice(2)))
} catch (error) {
  const message = error instanceof Error ? error.message : String(error)
  console.error(message === '' ? usage : error)
  process.exitCode = message === '' ? 0 : 2
}
process.exit()
