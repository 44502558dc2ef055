import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { FileDisk } from '../../device-sim/disk.ts'
import { findIdentity } from '../../device-sim/identity.ts'
import { fromPem } from '../../pki/pem.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import type { AuthorityView } from '../../server/authorities/wire.ts'
import type { DeploymentView } from '../../server/deployments/wire.ts'
import type { RolloutView } from '../../server/rollouts/wire.ts'
import { type Agents, createAgents } from '../support/agents.ts'
import { openSite, type Site } from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'

/* New certificates for devices at work, as rollouts: an operator at the command line, agents that renew by EST. */
let server: RunningServer
let site: Site
let agents: Agents
let oddAgents: Agents

beforeAll(async () => {
  server = await startServer()
  site = await openSite(server)
  agents = createAgents(server, site)
  // One of another profile, so that its renewals have rules of their own.
  await command('enrollment', 'create', 'line-2', '--group', 'lab')
  const { token } = await command<{ token: string }>('enrollment', 'token', 'line-2')
  oddAgents = createAgents(server, { ...site, profile: 'line-2', token })
}, 180_000)
afterAll(async () => {
  await oddAgents[Symbol.asyncDispose]()
  await agents[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

const command = async <T = Record<string, unknown>>(...args: string[]) =>
  await site.operator.fleetseal<T>(...args)

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 150_000
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not in time: ${holds.toString()}`)
    await sleep(100)
  }
}

/** The server gives ten seconds' notice; by this clock most of it is over. Who hears of it later is told again within a minute. */
const clock = { now: () => new Date(Date.now() + 7_000) }
const odd = 'CERT-5'
const serials = ['CERT-1', 'CERT-2', 'CERT-3', 'CERT-4', odd]

const issuerOf = async (serial: string) => {
  const disk = await FileDisk.existing(join(server.dataDir, '..', 'devices', serial))
  return (await findIdentity(disk))?.leaf.authorityKeyId?.toString('hex')
}
const keyIdOf = ({ certificate }: AuthorityView) =>
  parseCertificate(
    fromPem(certificate, 'CERTIFICATE')[0] ?? Buffer.alloc(0),
  ).subjectKeyId?.toString('hex')

const show = async (id: string) => await command<RolloutView>('rollout', 'show', id)
const deployments = async (id: string) =>
  await command<DeploymentView[]>('rollout', 'deployments', id)

test('five devices move to a new issuer in two phases; then one is refused, and shows why', async () => {
  for (const serial of serials) {
    await (serial === odd ? oddAgents : agents).powerUp(serial, { clock })
  }
  const everyAgent = [...agents.all, ...oddAgents.all]
  const allConnected = () => everyAgent.every((agent) => agent.status()?.connected === true)
  await until(allConnected)

  const issuer = await command<AuthorityView>('authority', 'create', 'devices')
  const next = keyIdOf(issuer)
  expect(await Promise.all(serials.map(issuerOf))).not.toContain(next)
  // The draft first: from then on the devices of the group wait for it.
  const what = ['--certificate', `issuer=${issuer.id}`, '--group', 'lab']
  const phases = ['--phase', 'count=2:min=2:hold', '--phase', '100']
  const { id } = await command<RolloutView>('rollout', 'create', 'issuer', ...what, ...phases)
  await command('authority', 'activate', issuer.id)
  await command('rollout', 'start', id)

  await until(async () => (await show(id)).waitsFor === 'hold')
  const first = await deployments(id)
  expect(first.map(({ state }) => state)).toEqual(['succeeded', 'succeeded'])
  const moved = (await Promise.all(serials.map(issuerOf))).filter((one) => one === next)
  expect(moved).toHaveLength(2)

  await command('rollout', 'advance', id)
  await until(async () => (await show(id)).state === 'completed')
  expect(await Promise.all(serials.map(issuerOf))).toEqual(serials.map(() => next))
  expect(await show(id)).toMatchObject({ succeeded: 5, failed: 0, kind: 'certificate' })
  await until(allConnected)

  // The agents make a new key with each renewal, and this profile no longer lets them.
  await command('enrollment', 'set-est', 'line-2', '--key', 'same')
  const before = ['--certificate', `before=${new Date().toISOString()}`, '--group', 'lab']
  const again = await command<RolloutView>('rollout', 'create', 'early', ...before, '--start')
  await until(async () => {
    const { succeeded, failed } = await show(again.id)
    return succeeded + failed === 5
  })
  const rows = await deployments(again.id)
  const refused = rows.filter(({ state }) => state !== 'succeeded')
  expect(refused).toMatchObject([
    { state: 'failed_final', code: 'invalid-request', detail: expect.stringContaining('key') },
  ])
  const { id: oddId } = await command<{ id: string }>('device', 'show', odd)
  expect(refused[0]?.deviceId).toBe(oddId)
}, 300_000)
