import { stat } from 'node:fs/promises'
import { get } from 'node:http'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'

import { DoctorView, type FindingView } from '../../server/doctor/wire.ts'
import type { CommandInput, Noun } from '../command.ts'
import { Failure } from '../failure.ts'
import { authority } from '../settings.ts'
import type { Column } from '../table.ts'

const columns: Column<FindingView>[] = [
  { head: 'level', cell: (one) => one.level },
  { head: 'check', cell: (one) => one.check },
  { head: 'found', cell: (one) => one.what },
  { head: 'fix', cell: (one) => one.fix },
]
const reachMs = 5_000

export const doctorNoun: Noun = {
  noun: 'doctor',
  summary: 'what is wrong with the installation, or soon will be, and what mends it',
  commands: [
    {
      verb: '',
      args: '',
      summary: 'Examine the server from inside and from here; ends with 1 when there is an error',
      options: {
        all: { type: 'boolean', about: 'what is well too' },
        'data-dir': {
          type: 'string',
          value: 'DIR',
          about: "the server's data directory, when it is on this machine (FLEETSEAL_DATA_DIR)",
        },
      },
      run: examine,
    },
  ],
}

async function examine(input: CommandInput): Promise<void> {
  const { client, values, world, out } = input
  const findings = await examineFolder(values.text('data-dir') ?? world.env['FLEETSEAL_DATA_DIR'])
  const answer = await (await client()).get(DoctorView, '/doctor').catch((cause: unknown) => cause)
  const seen = DoctorView.safeParse(answer)
  if (seen.success) {
    const { at, listeners } = seen.data
    findings.push(...seen.data.findings, clockHere(at, world.now()))
    findings.push(...(await reach(listeners, await authority(values, world.env))))
  } else {
    const why = answer instanceof Error ? answer.message : 'it answered something else'
    findings.push({
      check: 'server',
      level: 'error',
      what: `The server could not be asked: ${why}`,
      fix: 'See that it runs, its /readyz, and --server, --ca and --api-key-file',
    })
  }
  const wrong = findings.filter(({ level }) => level !== 'ok')
  const shown = out.isJson || values.flag('all') ? findings : wrong
  out.rows(shown, columns)
  const errors = findings.filter(({ level }) => level === 'error').length
  if (errors > 0)
    throw new Failure('unhealthy', `${errors} of ${findings.length} findings are errors`)
  if (wrong.length === 0) out.say('All is well')
}

function clockHere(at: string, now: Date): FindingView {
  const seconds = Math.abs(Date.parse(at) - now.getTime()) / 1000
  const what = `${seconds.toFixed(0)} s between the clocks of the server and of this machine`
  const fix = 'Set both by NTP: timedatectl set-ntp true'
  if (seconds > 60) return { check: 'clock', level: 'error', what, fix }
  return {
    check: 'clock',
    level: seconds > 10 ? 'warning' : 'ok',
    what,
    fix: seconds > 10 ? fix : null,
  }
}

/** What can be seen without a server. */
async function examineFolder(dir: string | undefined): Promise<FindingView[]> {
  if (dir === undefined) return []
  const wanted: [name: string, mode: number][] = [
    ['', 0o077],
    ['kek', 0o077],
    ['admin-api-key', 0o077],
  ]
  const findings: FindingView[] = []
  for (const [name, forbidden] of wanted) {
    const path = join(dir, name)
    const mode = await stat(path).then(
      (found) => found.mode,
      () => undefined,
    )
    // A key-encryption key may be elsewhere, and the first key of an administrator was removed, as it should be.
    if (mode === undefined && name !== '') continue
    if (mode === undefined) {
      const fix = 'Name the right one with --data-dir'
      findings.push({ check: 'files', level: 'error', what: `${dir} is not there`, fix })
    } else if ((mode & forbidden) !== 0) {
      const what = `Others than its owner may use ${path}`
      findings.push({ check: 'files', level: 'error', what, fix: `chmod go-rwx ${path}` })
    } else findings.push({ check: 'files', level: 'ok', what: `${path} is its owner's`, fix: null })
  }
  return findings
}

/** From here, as a device would: the right certificate for the name, on both ports, and the public port answers. */
async function reach(
  { host, device, mqtt, public: open }: DoctorView['listeners'],
  ca: string,
): Promise<FindingView[]> {
  return await Promise.all([
    reachTls('port for devices (HTTPS)', { host, port: device, ca }),
    reachTls('port for devices (MQTT)', { host, port: mqtt, ca }),
    reachHttp({ host, port: open }),
  ])
}

async function reachTls(
  name: string,
  at: { host: string; port: number; ca: string },
): Promise<FindingView> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const socket = connectTls({ ...at, servername: at.host, timeout: reachMs })
  socket.once('secureConnect', () => resolve(undefined))
  socket.once('timeout', () => resolve('no answer within 5 s'))
  socket.once('error', (error) => resolve(error.message))
  const failure = await promise
  socket.destroy()
  return reached(`${name} ${at.host}:${at.port}`, failure)
}

async function reachHttp({ host, port }: { host: string; port: number }): Promise<FindingView> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const request = get({ host, port, path: '/', timeout: reachMs }, (response) => {
    response.resume()
    resolve(undefined)
  })
  request.once('timeout', () => request.destroy(new Error('no answer within 5 s')))
  request.once('error', (error) => resolve(error.message))
  const failure = await promise
  return reached(`public port ${host}:${port}`, failure)
}

function reached(what: string, failure: string | undefined): FindingView {
  if (failure === undefined)
    return { check: 'ports', level: 'ok', what: `${what} is reached`, fix: null }
  const fix = 'Open it in firewalls, and see FLEETSEAL_BIND and FLEETSEAL_PUBLIC_HOST'
  return { check: 'ports', level: 'error', what: `${what} is not reached: ${failure}`, fix }
}
