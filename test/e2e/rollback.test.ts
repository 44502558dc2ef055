import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DeviceAgent } from '../../device-sim/agent.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import type { RollbackView } from '../../server/rollouts/derived-wire.ts'
import type { RolloutView } from '../../server/rollouts/wire.ts'
import { type Agents, createAgents } from '../support/agents.ts'
import { createTestDatabase } from '../support/database.ts'
import { openSite, publishRelease, type Site, startRollout } from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'

let database: DatabaseHandle
let server: RunningServer
let site: Site
let agents: Agents

beforeAll(async () => {
  database = await createTestDatabase()
  if (database.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
  server = await startServer({ DATABASE_URL: database.url })
  site = await openSite(server)
  agents = createAgents(server, site)
}, 180_000)
afterAll(async () => {
  await agents[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

const command = async <T = Record<string, unknown>>(...args: string[]) =>
  await site.operator.fleetseal<T>(...args)

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 120_000
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within two minutes: ${holds.toString()}`)
    await sleep(50)
  }
}

const versionOn = (agent: DeviceAgent) => agent.status()?.installed[0]?.version
const stateOf = async (rollout: string) =>
  (await command<RolloutView>('rollout', 'show', rollout)).state

let made = 0
async function release(version: string, svn: number): Promise<string> {
  made++
  const facts = { version, build: 100 + made, svn, metadataVersion: made }
  return await publishRelease(site, { ...facts, image: randomBytes(100_000) })
}

async function rollOut(releaseId: string): Promise<string> {
  const rollout = await startRollout(site, releaseId, 'field')
  await until(async () => (await stateOf(rollout)) === 'completed')
  return rollout
}

test('devices go back to the signed image that they had, and no further than its security version allows', async () => {
  const devices = [await agents.powerUp('BACK-1'), await agents.powerUp('BACK-2')]
  await until(() => devices.every((agent) => agent.status()?.connected === true))
  await command('group', 'create', 'field')
  for (const serial of ['BACK-1', 'BACK-2']) await command('group', 'add', 'field', serial)
  const good = await release('2.0.1', 1)
  await rollOut(good)
  const bad = await rollOut(await release('2.1.0', 1))
  expect(devices.map(versionOn)).toEqual(['2.1.0', '2.1.0'])

  const preview = await command<RollbackView>('rollout', 'rollback', bad, '--preview')
  expect(preview).toMatchObject({
    devices: 2,
    back: [{ releaseId: good, version: '2.0.1', devices: 2 }],
    cannot: [],
  })
  const back = await command<RolloutView>('rollout', 'rollback', bad, '--start')
  expect(back).toMatchObject({ kind: 'rollback', parentId: bad, state: 'running' })
  // To another line, without asking owners who have that already: they go back to where they were.
  await until(async () => (await stateOf(back.id)) === 'completed')
  expect(devices.map(versionOn)).toEqual(['2.0.1', '2.0.1'])

  const newer = await rollOut(await release('2.1.1', 2))
  expect(await command('rollout', 'rollback', newer, '--preview')).toMatchObject({
    devices: 2,
    back: [],
    cannot: [{ reason: 'security-version', devices: 2 }],
  })
  const listed = await command<unknown[]>('rollout', 'rollback', newer, '--devices')
  expect(listed).toHaveLength(2)
  await expect(command('rollout', 'rollback', newer)).rejects.toThrow('can go back')
  expect(devices.map(versionOn)).toEqual(['2.1.1', '2.1.1'])
}, 300_000)
