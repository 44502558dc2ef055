import { spawnSync } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { sql } from 'kysely'
import { expect, test } from 'vitest'

import { createAgents } from '../support/agents.ts'
import { fleetseal, tamperWith, verdict } from '../support/audit.ts'
import { createTestDatabase } from '../support/database.ts'
import { openSite, publishRelease, startRollout } from '../support/operator.ts'
import { startServer } from '../support/server.ts'

const toolsOfThePage = ['jq', 'xxd', 'openssl', 'sha256sum', 'base64']
const missing = toolsOfThePage.filter((tool) => spawnSync(tool, ['--version']).error !== undefined)

/** The commands of the page's section "By hand". */
async function byHand(): Promise<string> {
  const page = await readFile('docs/audit.md', 'utf8')
  const section = page.slice(page.indexOf('### By hand'), page.indexOf('## Rights in PostgreSQL'))
  return [...section.matchAll(/```sh\n(.*?)```/gs)].map(([, text = '']) => text).join('\n')
}

/** A server on PostgreSQL as a role that may only add to the log, and a device that was updated. */
async function givenFleet(stack: AsyncDisposableStack) {
  const database = stack.use(await createTestDatabase())
  if (database.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
  const role = `fleetseal_${randomUUID().slice(0, 8)}`
  await sql.raw(`create role ${role} login password 'p'`).execute(database.db)
  stack.defer(async () => {
    await sql.raw(`drop owned by ${role}`).execute(database.db)
    await sql.raw(`drop role ${role}`).execute(database.db)
  })
  const own = new URL(database.url)
  own.username = role
  own.password = 'p'
  const server = stack.use(
    await startServer({
      DATABASE_URL: own.href,
      FLEETSEAL_MIGRATION_DATABASE_URL: database.url,
    }),
  )
  expect(server.output()).not.toContain('may change the audit log')
  const site = await openSite(server)
  const agents = stack.use(createAgents(server, site))
  await agents.powerUp('AUDIT-1')
  const release = { version: '1.0.1', build: 200, image: randomBytes(50_000), metadataVersion: 1 }
  const rollout = await startRollout(site, await publishRelease(site, release))
  const end = Date.now() + 120_000
  for (;;) {
    const rows = await site.operator.fleetseal<{ state: string }[]>(
      'rollout',
      'deployments',
      rollout,
    )
    if (rows.some(({ state }) => state === 'succeeded')) break
    if (Date.now() > end) throw new Error(`not updated: ${JSON.stringify(rows)}`)
    await sleep(200)
  }
  return { database, server }
}

/** As the page says; and that its commands find a change. */
async function checkByHand(file: string, key: string): Promise<void> {
  const script = await byHand()
  const shell = (given = key) =>
    spawnSync('sh', ['-c', script], {
      cwd: dirname(file),
      env: { PATH: process.env['PATH'], KEY: given },
      encoding: 'utf8',
    })
  const honest = shell()
  expect(honest.stderr + honest.stdout).toMatch(
    /the chain holds up to [0-9a-f]{64}\n.*signed up to row \d+/s,
  )
  expect(honest.status).toBe(0)
  // Somebody else's key: the chain holds, and nothing is said to be signed.
  const foreign = shell(`a+00000000+${Buffer.alloc(33, 1).toString('base64')}`)
  expect(foreign.stdout).toContain('the chain holds up to')
  expect(foreign.stdout).not.toContain('signed up to')
  expect(foreign.status).not.toBe(0)
  const text = await readFile(file, 'utf8')
  await writeFile(file, text.replace('installation.create', 'installation.forget'))
  const changed = shell()
  expect(changed.stdout).toMatch(/row \d+ does not hold/)
  expect(changed.status).toBe(1)
  await writeFile(file, text)
}

test('a server that may only add to the log runs a fleet; the log is exported, verified by the command and by hand, and what the owner of the database changes is found', async () => {
  await using stack = new AsyncDisposableStack()
  const { database, server } = await givenFleet(stack)
  const folder = join(server.dataDir, '..')
  const file = join(folder, 'audit.ndjson')
  const env = {
    FLEETSEAL_SERVER: `https://localhost:${server.ports.api}`,
    FLEETSEAL_CA: server.ca,
    FLEETSEAL_API_KEY: join(server.dataDir, 'admin-api-key'),
  }
  const run = async (...words: string[]) => {
    const { code, out, err } = await fleetseal(words, env)
    expect(code, `${words.join(' ')}: ${err}`).toBe(0)
    return out
  }
  expect(JSON.parse(await run('audit', 'status', '--json'))).toMatchObject({
    rightsSeparated: true,
    begins: 1,
  })
  const [{ key = '' } = {}] = JSON.parse(await run('audit', 'keys', '--json')) as { key?: string }[]
  await run('audit', 'verify')
  await run('audit', 'export', '--out', file)
  expect((await fleetseal(['audit', 'export', '--out', file], env)).code).toBe(2)
  // When the server stops, everything until then is signed.
  await run('group', 'create', 'last')
  await server.stop()
  await server.restart()
  await run('audit', 'rotate-key')
  await run('audit', 'export', '--out', file, '--resume')
  const whole = await verdict(file, '--key', key)
  expect(whole.code, JSON.stringify(whole.body)).toBe(0)
  const kept = await run('audit', 'checkpoints')
  await writeFile(join(folder, 'kept.txt'), kept)
  expect(await verdict(file, '--key', key, '--checkpoint', join(folder, 'kept.txt'))).toMatchObject(
    { code: 0 },
  )

  if (missing.length === 0) await checkByHand(file, keyOfLast(whole.body))
  else console.info(`not by hand: ${missing.join(', ')} missing`)

  await tamperWith(database.db, `update audit_event set actor = 'nobody' where chain_no = 7`)
  const online = await fleetseal(['audit', 'verify'], env)
  expect(online.code).toBe(1)
  expect(online.err).toContain('The chain does not hold at 7: changed')
  const after = join(folder, 'after.ndjson')
  await run('audit', 'export', '--out', after)
  expect((await verdict(after, '--key', key)).findings).toEqual(['changed 7'])
}, 240_000)

/** The key that signed the last checkpoint: after a rotation the newest one, once it has signed. */
function keyOfLast(body: Record<string, unknown>): string {
  const [file] = body['files'] as { coveredBy: string | null }[]
  return file?.coveredBy ?? ''
}
