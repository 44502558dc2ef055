import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { DeviceAgent } from '../../device-sim/agent.ts'
import type { Behavior } from '../../device-sim/behavior.ts'
import { enrollDevice } from '../../device-sim/enroll.ts'
import { DdiClient } from '../support/ddi-client.ts'
import { imageFor } from '../support/images.ts'
import { hardwareId, model, publishRelease } from '../support/operator.ts'
import { noSwupdate, type SwupdateMachine, SwupdateSite } from '../support/swupdate.ts'

let world: SwupdateSite
const agents: DeviceAgent[] = []
let releases = 0

beforeAll(async () => {
  world = await SwupdateSite.open()
}, 300_000)
afterAll(async () => {
  await Promise.all(agents.map(async (agent) => await agent.stop()))
  await world[Symbol.asyncDispose]()
})

/** What is to become of each device, whatever it runs. */
const fates = ['good', 'failing', 'back', 'cancelled', 'revoked'] as const
type Fate = (typeof fates)[number]
interface Row {
  id: string
  deviceId: string
  state: string
  code: string | null
}
const versionAttribute = ['--version-attribute', 'swVersion', '--every', '30']

async function agent(serial: string, behavior: Behavior): Promise<string> {
  const { server, site } = world
  const dir = join(server.dataDir, '..', 'devices', serial)
  await enrollDevice({
    dir,
    root: await readFile(server.ca, 'utf8'),
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
      components: { main: { version: '1.0.0', build: 100, svn: 1 } },
      serialNumber: serial,
      allowEvaluation: true,
      helloRetryMs: 2_000,
      reconnectMaxMs: 500,
    },
  })
  const one = new DeviceAgent({ dir, behavior })
  agents.push(one)
  await one.start()
  return (await world.fleetseal<{ id: string }>('device', 'show', serial)).id
}

async function publish(image: (version: string) => Promise<Buffer>): Promise<Release> {
  releases += 1
  const version = `3.0.${releases}`
  const release = { version, build: 300 + releases, image: await image(version) }
  const names = { fileName: 'gate.swu', metadataVersion: releases }
  return { version, id: await publishRelease(world.site, { ...release, ...names }) }
}
interface Release {
  id: string
  version: string
}

async function until(holds: () => Promise<boolean>, what: () => Promise<unknown>): Promise<void> {
  const end = Date.now() + 120_000
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`it did not come about: ${JSON.stringify(await what())}`)
    await sleep(200)
  }
}

/** Polls until it is shown the update, and takes all of it. */
async function begin(client: DdiClient): Promise<string> {
  let href: string | undefined
  await until(
    async () => {
      href = (await client.root())._links?.deploymentBase?.href
      if (href === undefined) await sleep(1_000)
      return href !== undefined
    },
    async () => await client.root(),
  )
  const { json } = await client.call('GET', href ?? '')
  const download = json.deployment?.chunks[0]?.artifacts[0]?._links.download.href ?? ''
  expect((await client.call('GET', download)).status).toBe(200)
  const id = json.id ?? ''
  expect(await client.tell(id, 'proceeding', 'none', ['Installing'])).toBe(200)
  return id
}

/** What a client of this fate says after it began, in the order in which it says so. */
async function end(client: DdiClient, id: string, fate: Fate, version: string): Promise<void> {
  if (fate === 'failing') await client.tell(id, 'closed', 'failure', ['No space left'])
  if (fate !== 'good' && fate !== 'back') return
  await client.tell(id, 'closed', 'success', ['Installed'])
  await client.attributes({ swVersion: fate === 'good' ? version : '1.0.0' })
}

async function answerCancel(client: DdiClient): Promise<void> {
  const href = (await client.root())._links?.cancelAction?.href ?? ''
  expect((await client.call('GET', href)).status).toBe(200)
  const said = { status: { execution: 'closed', result: { finished: 'success' } } }
  expect((await client.call('POST', `${href}/feedback`, said)).status).toBe(200)
  expect((await client.root())._links?.cancelAction).toBeUndefined()
}

/** Two real ones, the first of which goes well; their images write into the first one's folder. */
async function machines(prefix: string): Promise<Map<Fate, SwupdateMachine>> {
  if (noSwupdate !== false) return new Map()
  const good = await world.machine(`${prefix}-GOOD`)
  return new Map([
    ['good', good],
    ['back', await world.machine(`${prefix}-BACK`)],
  ])
}

interface Fleet {
  prefix: string
  /** Raw clients, and real ones where SWUpdate is installed. */
  clients: Map<Fate, DdiClient>
  real: Map<Fate, SwupdateMachine>
  /** What each device id is called in the table. */
  names: Map<string, string>
}

/** One group with a client for each fate, and three agents. */
async function assemble(profile: string): Promise<Fleet> {
  const prefix = `MIX-${profile.toUpperCase()}`
  await world.fleetseal('ddi', 'model', model, profile, ...versionAttribute)
  const real = profile === 'swupdate' ? await machines(prefix) : new Map<Fate, SwupdateMachine>()
  const fleet: Fleet = { prefix, clients: new Map(), real, names: new Map() }
  await world.fleetseal('group', 'create', prefix)
  const takeIn = async (serial: string, deviceId: string, name: string) => {
    fleet.names.set(deviceId, name)
    await world.fleetseal('group', 'add', prefix, serial)
  }
  for (const fate of fates) {
    const serial = `${prefix}-${fate.toUpperCase()}`
    const machine = real.get(fate)
    const client = machine?.client ?? (await DdiClient.enroll(world.server, world.site, serial))
    await takeIn(serial, client.deviceId, fate)
    if (machine) continue
    fleet.clients.set(fate, client)
    await client.attributes({ swVersion: '1.0.0' })
  }
  const behaviors: [string, Behavior][] = [
    ['good', {}],
    ['failing', { corruptSlot: true }],
    ['back', { failHealth: true }],
  ]
  for (const [fate, behavior] of behaviors) {
    const serial = `${prefix}-AGENT-${fate.toUpperCase()}`
    await takeIn(serial, await agent(serial, behavior), `agent ${fate}`)
  }
  return fleet
}

/** The image for all of them, rolled out; rules that count failures would end it. */
async function rollOut({ prefix, real }: Fleet, profile: string) {
  const payload = randomBytes(100_000)
  const target = real.get('good')?.target ?? '/tmp/installed.bin'
  const release = await publish(async (version) =>
    profile === 'swupdate'
      ? await world.swu({ version, payload, target, signer: 'signer' })
      : imageFor(profile, version, payload),
  )
  const how = ['--release', release.id, '--group', prefix, '--no-built-in-rules', '--start']
  const { id } = await world.fleetseal<{ id: string }>('rollout', 'create', prefix, ...how)
  return { rollout: id, version: release.version }
}

async function tableOf({ names }: Fleet, rollout: string) {
  const rows = await world.fleetseal<Row[]>('rollout', 'deployments', rollout)
  const said = ({ state, code }: Row) => (code === null ? state : `${state}: ${code}`)
  return Object.fromEntries(rows.map((row) => [names.get(row.deviceId), said(row)]))
}

type Table = Awaited<ReturnType<typeof tableOf>>

/** Everybody does what is to become of them. */
async function play(
  { prefix, clients, real }: Fleet,
  version: string,
  table: () => Promise<Table>,
) {
  for (const machine of real.values()) await machine.start('1.0.0')
  for (const [fate, client] of clients) await end(client, await begin(client), fate, version)
  for (const [fate, machine] of real) {
    await machine.until(fate, async () => (await table())[fate] === 'installed')
    await machine.stop()
    await machine.start(fate === 'good' ? version : '1.0.0', '-c 2')
    const state = fate === 'good' ? 'succeeded' : 'rolled_back'
    await machine.until(state, async () => (await table())[fate]?.startsWith(state) === true)
    await machine.stop()
  }
  await world.fleetseal('device', 'revoke', `${prefix}-REVOKED`, '--reason', 'keyCompromise')
}

test.each(['swupdate', 'rauc', 'generic'])(
  'agents and %s clients of one rollout end in one table, with the same states and reasons',
  async (profile) => {
    const fleet = await assemble(profile)
    const { rollout, version } = await rollOut(fleet, profile)
    const table = async () => await tableOf(fleet, rollout)
    await play(fleet, version, table)

    const before = {
      good: 'succeeded',
      failing: 'failed: device-reported',
      // RAUC's client says so before its reboot: the old version proves nothing for five minutes.
      back: profile === 'rauc' ? 'installed' : 'rolled_back: old-version',
      cancelled: 'downloading',
      revoked: 'expired: device-gone',
      'agent good': 'succeeded',
      'agent failing': 'failed_final: hash',
      'agent back': 'rolled_back: health',
    }
    const same = (a: Table, b: Table) => fleet.names.values().every((name) => a[name] === b[name])
    await until(async () => same(await table(), before), table)
    await world.fleetseal('rollout', 'cancel', rollout)
    // What has ended stays as it ended; what would have been tried again is not.
    const after = { ...before, failing: 'cancelled', cancelled: 'cancelled' }
    await until(async () => same(await table(), after), table)
    const { clients } = fleet
    const cancelled = clients.get('cancelled')
    if (cancelled) await answerCancel(cancelled)
    expect((await clients.get('revoked')?.call('GET', ''))?.status).toBe(403)
    expect(await table()).toEqual(after)
  },
  300_000,
)
