import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { createProgress } from '../cli/progress.ts'
import type { DeploymentState } from '../server/protocol/deployment.ts'
import type { Chaos } from './chaos.ts'
import { buildFleet, component, type DemoDevice, hardwareId, model, until } from './fleet.ts'
import type { Operator } from './fleetseal.ts'
import type { Observer } from './observer.ts'
import type { ServerProcess } from './server-process.ts'

export interface Story {
  operator: Operator
  observer: Observer
  server: ServerProcess
  chaos: Chaos
  /** The demo's folder: devices, keys and server live in it. */
  home: string
  firmware: string
  count: number
  say: (line: string) => void
}

export interface Ended {
  devices: DemoDevice[]
  rolloutId: string
}

/** A fix stays on the line of what runs, 1.0: an owner who wants no features gets it all the same. */
export const newVersion = '1.0.1'
const group = 'lab'
const profile = 'line-1'
const settleMs = 90_000
/** What a first share without any device is given before a person goes on anyway. */
const emptyShareMs = 10_000

interface Id {
  id: string
}

/** Everything an operator, a release team and a fleet do for one update, in the order in which it happens. */
export async function tell(story: Story): Promise<Ended> {
  const { say } = story
  say(
    '\n1. Keys. Two of three people sign; here all keys are made for evaluation, and marked as such.',
  )
  await makeKeys(story)
  say(
    '\n2. Devices. A token lets each one in; a certificate of its own says who it is from then on.',
  )
  const devices = await enroll(story)
  say('\n3. A release, signed offline by two keys.')
  const releaseId = await release(story)
  say('\n4. The rollout: a quarter first, then a person decides.')
  const rolloutId = await pilot(story, devices, releaseId)
  say('\n5. An incident: one device is stolen, and cut off for good.')
  await incident(story, devices, rolloutId)
  say('\n6. The rest of the fleet.')
  await everybody(story, devices, rolloutId)
  return { devices, rolloutId }
}

async function makeKeys({ operator: { fleetseal }, home }: Story): Promise<void> {
  const keys = join(home, 'keys')
  await fleetseal('sign', 'init', '--keys', keys, '--evaluation')
  await fleetseal('sign', 'import', '--keys', keys)
  await fleetseal('model', 'create', model, '--hardware-id', hardwareId)
  await fleetseal('sign', 'targets', '--keys', keys, '--confirm', '2')
}

async function enroll(story: Story): Promise<DemoDevice[]> {
  const { operator, chaos, home, server, count } = story
  const { fleetseal } = operator
  await fleetseal('group', 'create', group, '--description', 'Devices of the demo')
  await fleetseal('enrollment', 'create', profile, '--group', group, '--quota', `${count}`)
  const uses = ['--max-uses', `${count}`, '--expires', '1h']
  const { token } = await fleetseal<{ token: string }>('enrollment', 'token', profile, ...uses)
  const progress = createProgress(process.stderr, Date.now)
  const read = async (...path: string[]) => await readFile(join(...path), 'utf8')
  chaos.start(1)
  const devices = await buildFleet({
    home,
    ports: server.ports,
    root: await read(server.dataDir, 'ca', 'root.pem'),
    imageRoot: await read(home, 'keys', 'image.1.root.json'),
    directorRoot: await read(home, 'keys', 'director.1.root.json'),
    profile,
    token,
    oldImage: Buffer.from('what the factory installed\n'),
    count,
    onEnrolled: (done) =>
      progress.update(
        done,
        count,
        `${done} of ${count} enrolled by EST, every fifth with a post-quantum key`,
      ),
  })
  await chaos.stop()
  progress.end()
  const connected = () => devices.every(({ agent }) => agent.status()?.connected)
  await until('All devices connected', settleMs, connected)
  return devices
}

async function release({ operator: { fleetseal }, home, firmware }: Story): Promise<string> {
  const keys = join(home, 'keys')
  const advisory = join(home, 'advisory.json')
  const text =
    'Anybody in radio range could open the door. The update closes this; it restarts the device once.'
  const body = { id: 'FS-2026-001', severity: 'high', url: '/a/2026-001', text }
  await writeFile(advisory, JSON.stringify(body))
  const artifact = await fleetseal<Id>('artifact', 'upload', firmware)
  const facts = ['--artifact', artifact.id, '--build', '200', '--svn', '2', '--class', 'security']
  const reasons = ['--fixes', 'CVE-2026-1234', '--advisory', advisory]
  const notes = ['--notes', 'Closes a hole in the door controller']
  const name = `${model}/${component}/${newVersion}`
  const made = await fleetseal<Id>('release', 'create', name, ...facts, ...reasons, ...notes)
  await fleetseal('release', 'submit', made.id)
  await fleetseal('sign', `fw-${model}`, '--keys', keys, '--confirm', '1', '--file', firmware)
  await fleetseal('release', 'publish', made.id)
  return made.id
}

/** For the share that was opened first, these are ends: nobody waits for an owner who decided otherwise. */
const settled: ReadonlySet<DeploymentState> = new Set([
  'succeeded',
  'opted_out',
  'postponed',
  'failed_final',
  'rolled_back',
  'lost',
])

async function pilot(
  { operator: { fleetseal }, observer }: Story,
  devices: readonly DemoDevice[],
  releaseId: string,
): Promise<string> {
  const phases = ['--phase', '25:min=1:hold', '--phase', '100']
  const what = ['--release', releaseId, '--group', group]
  const { id } = await fleetseal<Id>('rollout', 'create', 'Spring fix', ...what, ...phases)
  await fleetseal('rollout', 'start', id)
  const watch = createWatch(devices)
  const emptyAt = Date.now() + emptyShareMs
  await until('The first share proved itself', settleMs, async () => {
    watch.update()
    const met = (await observer.deployments(id)) ?? []
    return met.length === 0 ? Date.now() > emptyAt : met.every(({ state }) => settled.has(state))
  })
  watch.end()
  return id
}

async function incident(
  { operator: { fleetseal }, observer, say }: Story,
  devices: readonly DemoDevice[],
  rolloutId: string,
): Promise<void> {
  const met = new Set((await observer.deployments(rolloutId))?.map(({ deviceId }) => deviceId))
  const stolen = devices.find(({ role, deviceId }) => role === 'usual' && !met.has(deviceId))
  if (!stolen) throw new Error('Every device was met in the first share; try with more devices')
  stolen.role = 'revoked'
  const startedAt = Date.now()
  const { promise: cut, resolve } = Promise.withResolvers<number>()
  stolen.agent.once('disconnected', () => resolve(Date.now()))
  await fleetseal('device', 'revoke', stolen.serialNumber, '--reason', 'stolen')
  const late = new Promise<never>((_resolve, reject) =>
    setTimeout(() => reject(new Error('The revoked device is still connected')), 5_000).unref(),
  )
  const ms = (await Promise.race([cut, late])) - startedAt
  say(
    `  ${stolen.serialNumber} was cut off ${ms} ms after the command was typed, with the first share done.`,
  )
}

async function everybody(
  { operator: { fleetseal }, observer, chaos }: Story,
  devices: readonly DemoDevice[],
  rolloutId: string,
): Promise<void> {
  await fleetseal('rollout', 'advance', rolloutId)
  chaos.start()
  const watch = createWatch(devices)
  await until('The rollout completed', settleMs + chaos.extraMs, async () => {
    watch.update()
    return (await observer.rollout(rolloutId))?.state === 'completed'
  })
  await chaos.stop()
  // A report of the last moment may still wait for its acknowledgement.
  const told = () =>
    devices.every(({ agent, role }) => role === 'revoked' || agent.status()?.waiting === 0)
  await until('Every report was acknowledged', settleMs, told)
  watch.end()
}

/** One bar for the fleet: how many run the new image, and what the others are at. */
function createWatch(devices: readonly DemoDevice[]) {
  const progress = createProgress(process.stderr, Date.now)
  return {
    update: () => {
      const counts = new Map<string, number>()
      for (const { state } of devices) counts.set(state, (counts.get(state) ?? 0) + 1)
      const note = [...counts]
        .filter(([state]) => state !== '')
        .map(([state, count]) => `${count} ${state}`)
        .join(', ')
      progress.update(counts.get('succeeded') ?? 0, devices.length, note || 'nobody was met yet')
    },
    end: () => progress.end(),
  }
}
