import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { createOperator } from '../../demo/fleetseal.ts'
import { DeviceAgent } from '../../device-sim/agent.ts'
import { createEmptyDatabase } from '../support/empty-database.ts'
import {
  honestSerial,
  oldBackup,
  oldPassphrase,
  revokedSerial,
  unpackDevices,
} from '../support/old-installation.ts'
import { operatorOf } from '../support/operator.ts'
import { probe, until } from '../support/probe.ts'
import { type RunningServer, startServer } from '../support/server.ts'

/** An installation of the release before, restored from its backup: it is migrated, and everybody goes on. */
let home: string
let keyFile: string
let server: RunningServer
const agents: DeviceAgent[] = []
const quiet = () => {}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'fleetseal-upgrade-'))
  await unpackDevices(home)
  keyFile = join(home, 'passphrase')
  await writeFile(keyFile, `${oldPassphrase}\n`, { mode: 0o600 })
  const dataDir = join(home, 'data')
  const databaseUrl = await createEmptyDatabase()
  const { fleetseal } = createOperator(
    { FLEETSEAL_DATA_DIR: dataDir, DATABASE_URL: databaseUrl },
    quiet,
  )
  const verified = await fleetseal('backup', 'verify', oldBackup, '--key-file', keyFile)
  expect(verified).toMatchObject({ holdsKek: true, artifacts: { count: 1 } })
  const report = await fleetseal<{ migrated: string[]; next: string[] }>(
    'backup',
    'restore',
    oldBackup,
    '--key-file',
    keyFile,
  )
  expect(report.migrated[0]).toBe('0038_roles.sql')
  expect(report.next.join(' ')).toContain('let in again')
  server = await startServer({
    FLEETSEAL_DATA_DIR: home,
    DATABASE_URL: databaseUrl,
    FLEETSEAL_BACKUP_DIR: join(home, 'backups'),
    FLEETSEAL_BACKUP_KEY_FILE: keyFile,
    FLEETSEAL_BACKUP_INCLUDE: 'artifacts,kek',
    FLEETSEAL_BACKUP_HOURS: '8760',
  })
}, 180_000)
afterAll(async () => {
  await Promise.all(agents.map(async (agent) => await agent.stop()))
  await server[Symbol.asyncDispose]()
  await rm(home, { recursive: true, force: true })
})

async function powerUp(serial: string): Promise<DeviceAgent> {
  const dir = join(home, 'devices', serial)
  const file = join(dir, 'device.json')
  const settings: unknown = JSON.parse(await readFile(file, 'utf8'))
  const ports = { devicePort: server.ports.device, mqttPort: server.ports.mqtt }
  await writeFile(file, JSON.stringify({ ...(settings as object), ...ports }))
  const agent = new DeviceAgent({ dir })
  agents.push(agent)
  await agent.start()
  return agent
}

interface Device {
  id: string
  state: string
  connected: boolean
}
const device = async (serial: string) =>
  await operatorOf(server).fleetseal<Device>('device', 'show', serial)

test('the audit chain holds, over the upgrade and the restore', async () => {
  await operatorOf(server).fleetseal('audit', 'verify')
  const rows = await operatorOf(server).fleetseal<{ action: string }[]>('audit', 'list')
  expect(rows.map(({ action }) => action)).toContain('backup.restore')
})

test('a device connects with the certificate that it had, and the one that was revoked stays out', async () => {
  await powerUp(honestSerial)
  await until(
    async () => await device(honestSerial),
    ({ connected }) => connected,
  )
  expect(await device(revokedSerial)).toMatchObject({ state: 'revoked', connected: false })
  const stolen = await powerUp(revokedSerial)
  const refused = async () => {
    const { body } = await probe(server, '/metrics')
    return [...String(body).matchAll(/^fleetseal_mqtt_refused_total\{.*\} (\d+)$/gm)].length
  }
  await until(refused, (count) => count > 0)
  expect(stolen.status()?.connected).toBe(false)
  expect(await device(revokedSerial)).toMatchObject({ connected: false })
})

test('updates go on: another release, signed with the keys of before, is rolled out', async () => {
  const { fleetseal } = operatorOf(server)
  const keys = join(home, 'keys')
  const image = join(home, 'image.bin')
  await writeFile(image, Buffer.alloc(20_000, 7))
  const artifact = await fleetseal<{ id: string }>('artifact', 'upload', image)
  const facts = ['--artifact', artifact.id, '--build', '300', '--svn', '2', '--class', 'feature']
  const made = await fleetseal<{ id: string }>('release', 'create', 'gate-2/main/1.1.0', ...facts)
  await fleetseal('release', 'submit', made.id)
  await fleetseal('sign', 'fw-gate-2', '--keys', keys, '--confirm', '2')
  await fleetseal('release', 'publish', made.id)
  const what = ['--release', made.id, '--group', 'lab', '--start']
  const { id } = await fleetseal<{ id: string }>('rollout', 'create', 'after the upgrade', ...what)
  const deployments = async () => await fleetseal<{ state: string }[]>('rollout', 'deployments', id)
  await until(deployments, (rows) => rows.length > 0)
})

test('a backup is made while it runs, the list names it, and it holds all that there is', async () => {
  const { fleetseal } = operatorOf(server)
  const made = await fleetseal<{ name: string }>('backup', 'create')
  const list = await fleetseal<{ name: string }[]>('backup', 'list')
  expect(list.map(({ name }) => name)).toContain(made.name)
  const file = join(home, 'backups', made.name)
  const report = await fleetseal('backup', 'verify', file, '--key-file', keyFile)
  expect(report).toMatchObject({ holdsKek: true, tables: { device: 5 }, artifacts: { count: 2 } })
  await expect(
    fleetseal('backup', 'verify', file, '--key-file', join(home, 'keys', 'passphrase')),
  ).rejects.toThrow('does not open')
})

test('the doctor finds the ports, names what is to be done, and ends with an error when there is one', async () => {
  const { fleetseal } = operatorOf(server)
  const dir = ['--data-dir', server.dataDir]
  const findings = await fleetseal<{ check: string; level: string; what: string }[]>(
    'doctor',
    ...dir,
  )
  const ports = findings.filter(({ check }) => check === 'ports')
  expect(ports.map(({ level }) => level)).toEqual(['ok', 'ok', 'ok'])
  expect(findings.find(({ what }) => what.includes('EVALUATION'))).toMatchObject({
    level: 'warning',
  })
  expect(findings.filter(({ level }) => level === 'error')).toEqual([])
  await chmod(join(server.dataDir, 'kek'), 0o644)
  await expect(fleetseal('doctor', ...dir)).rejects.toThrow(/unhealthy.*2 of/)
  await chmod(join(server.dataDir, 'kek'), 0o600)
  const elsewhere = ['--server', `https://localhost:${server.ports.public}`]
  await expect(fleetseal('doctor', ...elsewhere)).rejects.toThrow('unhealthy')
})
