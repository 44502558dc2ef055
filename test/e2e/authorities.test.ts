import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { keyIdOfRequest } from '../../cli/ceremony/key-id.ts'
import { createOperator } from '../../demo/fleetseal.ts'
import { DeviceAgent } from '../../device-sim/agent.ts'
import { FileDisk } from '../../device-sim/disk.ts'
import { enrollDevice } from '../../device-sim/enroll.ts'
import { findIdentity } from '../../device-sim/identity.ts'
import { fromPem } from '../../pki/pem.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import type { AuthorityView } from '../../server/authorities/wire.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { hardwareId, model, openSite, type Site } from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'

let base: string
let database: DatabaseHandle & { kind: 'postgres' }
let env: Record<string, string>
let server: RunningServer
let site: Site
const agents: DeviceAgent[] = []
const dayMs = 86_400_000

/** The machine of the root: no server, no key of one. */
const offline = createOperator({}, () => {})
const root = () => join(base, 'root')
const secret = () => join(base, 'passphrase')

beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'fleetseal-authorities-'))
  const made = await createTestDatabase()
  if (made.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
  database = made
  env = {
    DATABASE_URL: database.url,
    FLEETSEAL_DATA_DIR: base,
    FLEETSEAL_ROOT_FILE: join(root(), 'root.pem'),
  }
  await writeFile(secret(), 'correct horse battery\n')
})
afterAll(async () => {
  await Promise.all(agents.map(async (agent) => await agent.stop()))
  await server[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
  await rm(base, { recursive: true, force: true })
})

const ceremony = async <T>(verb: string, ...args: string[]) =>
  await offline.fleetseal<T>(
    'ceremony',
    verb,
    ...args,
    '--dir',
    root(),
    '--passphrase-file',
    secret(),
  )

async function keyIdIn(path: string): Promise<string> {
  return keyIdOfRequest(await readFile(path, 'utf8')) ?? ''
}

async function until(holds: () => boolean | Promise<boolean>, limitMs = 30_000): Promise<void> {
  const end = Date.now() + limitMs
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${holds.toString()}`)
    await sleep(25)
  }
}

async function newDevice(serial: string, aheadMs: () => number): Promise<DeviceAgent> {
  const dir = join(base, 'devices', serial)
  await enrollDevice({
    dir,
    root: await readFile(join(root(), 'root.pem'), 'utf8'),
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
  const agent = new DeviceAgent({ dir, clock: { now: () => new Date(Date.now() + aheadMs()) } })
  agents.push(agent)
  await agent.start()
  await until(() => agent.status()?.connected === true)
  return agent
}

async function restart(): Promise<void> {
  for (const agent of agents) {
    await agent.stop()
    await agent.start()
  }
}

/** When the server told the device to renew, in milliseconds. */
const hintOf = async (serial: string) => {
  const plan = await readFile(join(base, 'devices', serial, 'renewal.json'), 'utf8')
  return Date.parse((JSON.parse(plan) as { hintAt: string }).hintAt)
}

const issuerOf = async (serial: string) => {
  const identity = await findIdentity(await FileDisk.existing(join(base, 'devices', serial)))
  return identity?.leaf.authorityKeyId?.toString('hex')
}
const keyIdOf = ({ certificate }: Pick<AuthorityView, 'certificate'>) =>
  parseCertificate(
    fromPem(certificate, 'CERTIFICATE')[0] ?? Buffer.alloc(0),
  ).subjectKeyId?.toString('hex')
const authorities = async () => await site.operator.fleetseal<AuthorityView[]>('authority', 'list')

describe('a root on a machine without network', () => {
  test('is made once, and says what it made', async () => {
    const [made] = await ceremony<{ fingerprint: string }[]>('init', 'Acme Root')
    expect(made?.fingerprint).toMatch(/^[0-9a-f]{64}$/)
    await expect(ceremony('init', 'Acme Root')).rejects.toThrow(/exists already/)
    expect(await readFile(join(root(), 'root-key.pem'), 'utf8')).toContain('ENCRYPTED PRIVATE KEY')
  })

  test('certifies what the first start asked for, after a person compared the key', async () => {
    await expect(startServer(env)).rejects.toThrow(/devices\.csr\.pem and .*servers\.csr\.pem/)
    const ca = join(base, 'data', 'ca')
    await mkdir(join(ca, 'answers'), { recursive: true })
    for (const purpose of ['devices', 'servers']) {
      const request = join(ca, 'requests', `${purpose}.csr.pem`)
      const out = join(ca, 'answers', `${purpose}.pem`)
      const sign = async (keyId: string) =>
        await ceremony('sign', request, '--out', out, '--confirm', keyId)
      await expect(sign('00000000')).rejects.toThrow(/key id begins with/)
      await sign((await keyIdIn(request)).slice(0, 12))
    }
    const other = join(ca, 'answers', 'devices.pem')
    const right = await readFile(other)
    await writeFile(other, await readFile(join(ca, 'answers', 'servers.pem')))
    await expect(startServer(env)).rejects.toThrow(/another key/)
    await writeFile(other, right)
    const log = await offline.fleetseal<{ action: string }[]>('ceremony', 'log', '--dir', root())
    expect(log.map(({ action }) => action)).toEqual(['init', 'sign', 'sign'])
  })

  test("the server runs without the root's key, and devices enroll", async () => {
    server = await startServer(env)
    expect(await readFile(server.ca, 'utf8')).toBe(await readFile(join(root(), 'root.pem'), 'utf8'))
    site = await openSite(server)
    const rows = await authorities()
    expect(
      rows.map(({ purpose, state, hasKey }) => `${purpose} ${state} ${hasKey}`).toSorted(),
    ).toEqual(['devices active true', 'root active false', 'servers active true'])
    await expect(site.operator.fleetseal('authority', 'create', 'devices')).rejects.toThrow(
      /authority request/,
    )
  })
})

test('R8 a fleet follows a rollover of its issuer, and nobody is lost', async () => {
  let aheadMs = 0
  const serials = ['R-1', 'R-2', 'R-3']
  for (const serial of serials) await newDevice(serial, () => aheadMs)
  const { fleetseal } = site.operator
  const file = join(base, 'devices-2.csr.pem')
  await fleetseal('authority', 'request', 'devices', '--out', file)
  const keyId = (await keyIdIn(file)).slice(0, 8)
  await ceremony('sign', file, '--confirm', keyId)
  const next = await fleetseal<AuthorityView>('authority', 'answer', `${file}.answer.pem`)
  expect(next.state).toBe('prepared')
  const old = (await authorities()).find(
    ({ purpose, state }) => purpose === 'devices' && state === 'active',
  )
  if (!old) throw new Error('no issuer')
  for (const serial of serials) expect(await issuerOf(serial)).toBe(keyIdOf(old))
  await fleetseal('authority', 'activate', next.id)
  await expect(fleetseal('authority', 'retire', old.id)).rejects.toThrow(/in a minute/)

  // Renewals are spread over a week. Six days later every device has heard when its turn is, and after three more it had it.
  await sql`update authority set changed_at = changed_at - interval '6 days' where id = ${next.id}`.execute(
    database.db,
  )
  await restart()
  const soon = Date.now() + 2 * dayMs
  await until(async () => (await Promise.all(serials.map(hintOf))).every((at) => at < soon))
  aheadMs = 3 * dayMs
  await restart()
  for (const serial of serials) await until(async () => (await issuerOf(serial)) === keyIdOf(next))
  await until(() => agents.every((agent) => agent.status()?.connected === true))
  // A minute later every process knows, and the devices have proved their new certificates.
  await sql`update authority set changed_at = changed_at - interval '2 minutes'`.execute(
    database.db,
  )
  await until(async () => {
    const { count } = await database.db
      .selectFrom('certificate')
      .select((eb) => eb.fn.countAll<number>().as('count'))
      .where('authority_id', '=', old.id)
      .where('state', '=', 'issued')
      .executeTakeFirstOrThrow()
    return Number(count) === 0
  })
  expect((await fleetseal<AuthorityView>('authority', 'retire', old.id)).state).toBe('retired')
  await restart()
  await until(() => agents.every((agent) => agent.status()?.connected === true))
})
