import { existsSync } from 'node:fs'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

import { Chaos } from './chaos.ts'
import type { DemoDevice } from './fleet.ts'
import { createOperator } from './fleetseal.ts'
import { Observer } from './observer.ts'
import { judge } from './outcome.ts'
import { ServerProcess } from './server-process.ts'
import { tell } from './story.ts'

const usage = `npm run demo [-- --devices N --firmware FILE --keep --chaos N]

  --devices N      size of the simulated fleet, 5 to 200 (20)
  --firmware FILE  the image to roll out (a 9 MB program that comes with the dependencies)
  --keep           keep the demo's folder, with the data directory, keys and devices
  --chaos N        kill -9 the server N times at random moments and start it again
`

/** A real binary that every installation has. */
const ownFirmware = fileURLToPath(
  new URL('../node_modules/@electric-sql/pglite/dist/pglite.wasm', import.meta.url),
)

interface Options {
  devices: number
  firmware: string
  keep: boolean
  chaos: number
}

function readOptions(argv: string[]): Options {
  const { values } = parseArgs({
    args: argv,
    options: {
      devices: { type: 'string', default: '20' },
      firmware: { type: 'string', default: ownFirmware },
      keep: { type: 'boolean', default: false },
      chaos: { type: 'string', default: '0' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) throw new Error('')
  const devices = Number(values.devices)
  const chaos = Number(values.chaos)
  if (!Number.isInteger(devices) || devices < 5 || devices > 200) {
    throw new Error('--devices takes a number from 5 to 200')
  }
  if (!Number.isInteger(chaos) || chaos < 0 || chaos > 20) {
    throw new Error('--chaos takes a number from 0 to 20')
  }
  const firmware = resolve(values.firmware)
  if (!existsSync(firmware)) throw new Error(`${firmware} does not exist`)
  return { devices, firmware, keep: values.keep, chaos }
}

async function demo(options: Options): Promise<number> {
  const say = (line: string) => console.log(line)
  const startedAt = Date.now()
  const home = await mkdtemp(join(tmpdir(), 'fleetseal-demo-'))
  say(
    `Fleetseal demo: ${options.devices} devices, an image of ${((await stat(options.firmware)).size / 1e6).toFixed(1)} MB, in ${home}`,
  )
  let devices: DemoDevice[] = []
  try {
    await using server = await ServerProcess.start(home, {
      PATH: process.env['PATH'],
      DATABASE_URL: process.env['FLEETSEAL_DEMO_DATABASE_URL'],
    })
    const operator = createOperator(
      {
        FLEETSEAL_SERVER: `https://localhost:${server.ports.api}`,
        FLEETSEAL_API_KEY: join(server.dataDir, 'admin-api-key'),
        FLEETSEAL_CA: join(server.dataDir, 'ca', 'root.pem'),
      },
      say,
    )
    using observer = await Observer.create(server)
    const chaos = new Chaos(server, options.chaos, say)
    const ended = await tell({
      ...options,
      operator,
      observer,
      server,
      chaos,
      home,
      say,
      count: options.devices,
    })
    devices = ended.devices
    const { table, wrong } = await judge(devices, ended.rolloutId, observer)
    say(`\n${table}`)
    for (const line of wrong) say(`WRONG  ${line}`)
    await Promise.all(devices.map(async ({ agent }) => await agent.stop()))
    const seconds = ((Date.now() - startedAt) / 1_000).toFixed(0)
    say(
      wrong.length === 0
        ? `All as it should be, in ${seconds} s.`
        : `Not as it should be, after ${seconds} s.`,
    )
    return wrong.length === 0 ? 0 : 1
  } finally {
    await Promise.all(devices.map(async ({ agent }) => await agent.stop()))
    if (options.keep) say(`Kept: ${home}`)
    else await rm(home, { recursive: true, force: true })
  }
}

try {
  process.exitCode = await demo(readOptions(process.argv.slice(2)))
} catch (error) {
  const message = error instanceof Error ? error.message : String(error)
  console.error(message === '' ? usage : `${message}\n`)
  process.exitCode = message === '' ? 0 : 1
}
// Agents that a failure left running hold timers; nothing is worth waiting for now.
process.exit()
