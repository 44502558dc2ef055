import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'

import { freePort } from './postgres.ts'

const program = 'haproxy'

/** Why the tests with it are skipped; undefined when it is there. */
export const noHaproxy =
  spawnSync(program, ['-v']).status === 0 ? undefined : 'haproxy is not installed'

const parts = ['mqtt', 'device', 'api', 'public'] as const
export type Ports = Record<(typeof parts)[number], number>
const documented: Ports = { mqtt: 8_883, device: 8_444, api: 8_443, public: 8_080 }

export interface Haproxy extends AsyncDisposable {
  ports: Ports
  /** What it thinks of each server, e.g. `mqtt/a`. */
  states: () => Promise<Map<string, { status: string; sessions: number }>>
}

/**
 * haproxy with the configuration of docs/many-processes.md, in front of two servers on loopback.
 *
 * @param folder for its files; somebody else removes it
 */
export async function startHaproxy(folder: string, servers: [Ports, Ports]): Promise<Haproxy> {
  const page = await readFile('docs/many-processes.md', 'utf8')
  let config = /```haproxy\n([^]*?)```/.exec(page)?.[1]
  if (config === undefined) throw new Error('The page has no haproxy.cfg')
  const ports: Ports = { mqtt: 0, device: 0, api: 0, public: 0 }
  for (const part of parts) {
    ports[part] = await freePort()
    const places: [string, number][] = [
      [`bind :${documented[part]}`, ports[part]],
      [`10.0.0.11:${documented[part]}`, servers[0][part]],
      [`10.0.0.12:${documented[part]}`, servers[1][part]],
    ]
    for (const [place, port] of places) {
      if (config.split(place).length !== 2) throw new Error(`${place} is not there once`)
      config = config.replace(place, `${place.startsWith('bind') ? 'bind ' : ''}127.0.0.1:${port}`)
    }
  }
  const socket = join(folder, 'haproxy.sock')
  const file = join(folder, 'haproxy.cfg')
  // Checks are frequent, so that a test sees many of them, and no limit of the machine's own is asked for.
  config = config.replace('inter 2s', 'inter 100ms').replace('maxconn 40000', 'maxconn 400')
  await writeFile(file, `${config}\nglobal\n    stats socket ${socket} mode 600\n`)
  const child = spawn(program, ['-db', '-f', file], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-4_000)
    })
  }
  const states = async () => {
    const said = connect(socket)
    said.write('show stat\n')
    const rows = (await text(said)).split('\n').map((row) => row.split(','))
    return new Map(
      rows.map((row) => [
        `${row[0]}/${row[1]}`,
        { status: row[17] ?? '', sessions: Number(row[4] ?? 0) },
      ]),
    )
  }
  for (;;) {
    if (child.exitCode !== null) throw new Error(`haproxy ended: ${output}`)
    if (await states().catch(() => undefined)) break
    await sleep(50)
  }
  return {
    ports,
    states,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      await ended
    },
  }
}
