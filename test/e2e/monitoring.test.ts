import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { FileDisk } from '../../device-sim/disk.ts'
import { loadJournal, saveJournal } from '../../device-sim/update/journal.ts'
import { securityEvent } from '../../device-sim/update/report.ts'
import { type Agents, createAgents } from '../support/agents.ts'
import { openSite, type Site } from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'

let server: RunningServer
let site: Site
let agents: Agents | undefined
beforeAll(async () => {
  server = await startServer()
  site = await openSite(server)
  agents = createAgents(server, site)
}, 180_000)
afterAll(async () => {
  await agents?.[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

async function until(holds: () => Promise<boolean> | boolean): Promise<void> {
  const end = Date.now() + 60_000
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within a minute: ${holds.toString()}`)
    await sleep(50)
  }
}

test('an owner switches monitoring off on the device: it tells nothing, the server stores nothing, and on again it does', async () => {
  const agent = await agents?.powerUp('M-1')
  if (!agent) throw new Error('no agent')
  await until(() => agent.status()?.connected === true)
  const { deviceId = '' } = agent.status() ?? {}
  const dir = join(server.dataDir, '..', 'devices', 'M-1')
  const owner = async (...words: string[]) => {
    const args = ['device-sim/main.ts', ...words, '--dir', dir]
    return (await promisify(execFile)(process.execPath, args)).stdout
  }
  const show = async () =>
    await site.operator.fleetseal<{ monitoring: string }>('device', 'show', deviceId)
  const events = async () =>
    await site.operator.fleetseal<{ kind: string }[]>('events', 'list', '--device', deviceId)
  const toldOf = async (kind: string) => (await events()).some((event) => event.kind === kind)

  expect(await owner('monitoring', 'off')).toContain('Logging and monitoring are off')
  await until(async () => (await show()).monitoring === 'off')
  expect(await owner('status')).toContain('Logging and monitoring are off')
  expect(await owner('ledger')).toContain('switched logging and monitoring off')

  // One that does not keep to it: an event is put into its queue behind its back.
  await agent.stop()
  const disk = await FileDisk.existing(dir)
  const journal = await loadJournal(disk)
  const at = { detail: 'd', now: Date.now() }
  expect(securityEvent(journal, { kind: 'kept-silent', ...at })).toEqual(journal)
  const unruly = { ...journal, owner: { ...journal.owner, monitoringOff: false } }
  const { queue, seq } = securityEvent(unruly, { kind: 'sent-anyway', ...at })
  await saveJournal(disk, { ...journal, queue, seq })
  await agent.start()
  await until(() => agent.status()?.connected === true && agent.status()?.waiting === 0)
  expect(await toldOf('sent-anyway')).toBe(false)

  await owner('monitoring', 'on')
  await until(async () => (await show()).monitoring === 'on')
  await agent.stop()
  const again = await loadJournal(disk)
  await saveJournal(disk, securityEvent(again, { kind: 'told-again', ...at }))
  await agent.start()
  await until(async () => await toldOf('told-again'))
  expect(await toldOf('sent-anyway')).toBe(false)
}, 180_000)
