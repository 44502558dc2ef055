import { randomBytes } from 'node:crypto'
import { copyFile, readFile, rm, stat, writeFile } from 'node:fs/promises'

import { sql } from 'kysely'
import { beforeEach, describe, expect, test } from 'vitest'

import { ensureAuditKey } from '../../server/audit/keys.ts'
import { bootstrapAuthorities } from '../../server/authorities/bootstrap.ts'
import {
  confirmKek,
  followKek,
  kekStatus,
  rotateKek,
  wrappedColumns,
} from '../../server/authorities/kek-rotation.ts'
import { kekFiles, loadKek } from '../../server/authorities/kek.ts'
import { loadAuthorities } from '../../server/authorities/load.ts'
import { createRequest } from '../../server/authorities/requests.ts'
import { createAuthority } from '../../server/authorities/service.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { newId } from '../../server/ids.ts'
import { ensureOnlineKeys, onlineKeys } from '../../server/metadata/online-keys.ts'
import { createApiKey } from '../../server/operators/service.ts'
import { insertPerson } from '../../server/people/store.ts'
import { setTotp } from '../../server/sign-in/credential-store.ts'
import { giveTicket } from '../../server/sign-in/tickets.ts'
import { newTotp } from '../../server/sign-in/totp.ts'
import { SessionTickets } from '../../server/tickets/tickets.ts'
import { actOnEndpoint, createEndpoint } from '../../server/webhooks/service.ts'
import { actorWith } from '../support/actor.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  by,
  createIdentityWorld,
  type IdentityWorld,
  type WorldContext,
} from '../support/identity-world.ts'

let handle: DatabaseHandle
let world: IdentityWorld
let ctx: WorldContext

beforeEach(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  ctx = world.ctx
  return async () => {
    await world[Symbol.asyncDispose]()
    await handle[Symbol.asyncDispose]()
  }
})

const id = () => newId(ctx.clock.now())
const files = () => kekFiles(ctx.config)
const there = async (path: string) =>
  await stat(path).then(
    () => true,
    () => false,
  )

/** Every wrapped blob there is, by column. */
async function blobs(): Promise<Record<string, string[]>> {
  const all: Record<string, string[]> = {}
  for (const name of wrappedColumns) {
    const [table = '', column = ''] = name.split('.')
    const { rows } = await sql<{ hex: string }>`
      select encode(${sql.ref(column)}, 'hex') as hex from ${sql.table(table)}
      where ${sql.ref(column)} is not null order by 1`.execute(handle.db)
    all[name] = rows.map(({ hex }) => hex)
  }
  return all
}

/** What a start of the server does, with the files and the database as they are. */
async function start(): Promise<WorldContext['kek']> {
  const { db, clock, log, config } = ctx
  const deps = { db, clock, log, config, kek: await loadKek(config) }
  await bootstrapAuthorities(deps)
  await loadAuthorities(deps)
  await onlineKeys({ db: handle.db, kek: deps.kek })
  return deps.kek
}

async function givenEverything(): Promise<void> {
  await ensureOnlineKeys(ctx)
  await ensureAuditKey(ctx)
  await handle.db
    .updateTable('online_key')
    .set((eb) => ({
      next_keyid: eb.ref('keyid'),
      next_public: eb.ref('public'),
      next_wrapped_key: eb.ref('wrapped_key'),
      next_created_at: eb.ref('created_at'),
    }))
    .where('role', '=', 'targets')
    .execute()
  await createRequest(ctx, { id: id(), purpose: 'devices', ...by })
  await world.givenProfile({ webhook: { url: 'https://example.com/enroll' } })
  await givenEndpoint()
  await givenApps()
  await new SessionTickets(ctx).look()
}

/** A webhook whose secret is being replaced. */
async function givenEndpoint(): Promise<void> {
  const endpoint = { id: id(), url: 'https://example.com/', description: '', groupIds: [] }
  await createEndpoint(ctx, { ...endpoint, types: ['device.enrolled'] }, by)
  await actOnEndpoint(ctx, endpoint.id, { action: 'rotate-secret' }, by)
}

/** Somebody with an authenticator app, who sets another one up. */
async function givenApps(): Promise<void> {
  const now = ctx.clock.now()
  const personId = id()
  const seal = () => newTotp(ctx.kek, personId, { issuer: 'x', label: 'y' }).sealed
  await inTransaction(handle.db, async (tx) => {
    const who = { name: 'x', email: 'x@example.com', createdBy: 'system', createdAt: now }
    await insertPerson(tx, { id: personId, ...who })
    await setTotp(tx, { person_id: personId, sealed_secret: seal(), last_step: 0, created_at: now })
    await giveTicket(tx, now, { kind: 'totp-setup', person_id: personId, sealed_secret: seal() })
  })
}

describe('rotation of the key-encryption key while running', () => {
  test('wraps every key anew, and everything goes on', async () => {
    await givenEverything()
    const old = Buffer.from(ctx.kek)
    const before = await blobs()
    for (const name of wrappedColumns) expect([name, before[name]?.length]).not.toEqual([name, 0])
    expect(await rotateKek(ctx, by)).toMatchObject({ isPreviousKept: true })
    const after = await blobs()
    for (const name of wrappedColumns) {
      expect(after[name]).toHaveLength(before[name]?.length ?? 0)
      expect(after[name]?.filter((hex) => before[name]?.includes(hex))).toEqual([])
    }
    expect(ctx.kek.equals(old)).toBe(false)
    expect(await readFile(files().current)).toEqual(ctx.kek)
    expect(await readFile(files().previous)).toEqual(old)
    expect((await stat(files().current)).mode & 0o777).toBe(0o600)
    await createAuthority(ctx, { id: id(), purpose: 'devices', ...by })
    await world.givenDevice()
    expect(await start()).toEqual(ctx.kek)
  })

  test('the one before is kept until confirmed, and no other rotation begins', async () => {
    const [one, two] = await Promise.allSettled([rotateKek(ctx, by), rotateKek(ctx, by)])
    expect([one.status, two.status].toSorted((a, b) => a.localeCompare(b))).toEqual([
      'fulfilled',
      'rejected',
    ])
    await expect(rotateKek(ctx, by)).rejects.toMatchObject({ code: 'conflict' })
    for (let n = 0; n < 2; n++)
      expect(await confirmKek(ctx, by)).toMatchObject({ isPreviousKept: false })
    expect(await there(files().previous)).toBe(false)
    await rotateKek(ctx, by)
    expect(await kekStatus(ctx)).toMatchObject({ isPreviousKept: true })
  })

  test('changes nothing when one of the keys cannot be opened', async () => {
    const old = Buffer.from(ctx.kek)
    await sql`update authority set wrapped_key = ${randomBytes(80)} where purpose = 'servers'`.execute(
      handle.db,
    )
    const before = await blobs()
    await expect(rotateKek(ctx, by)).rejects.toMatchObject({ code: 'wrap' })
    expect(await blobs()).toEqual(before)
    expect([ctx.kek, await readFile(files().current)]).toEqual([old, old])
  })

  test('a secret that was made with the old key is not answered wrongly', async () => {
    const admin = actorWith('admin', { id: 'key:test', name: 'Ada', requestId: 'test' })
    const command = { id: id(), name: 'ci', role: 'viewer', groupIds: [], by: admin }
    const { secret } = await createApiKey(ctx, command)
    expect((await createApiKey(ctx, command)).secret).toBe(secret)
    await rotateKek(ctx, by)
    await expect(createApiKey(ctx, command)).rejects.toMatchObject({ code: 'conflict' })
  })
})

describe('a crash during a rotation', () => {
  test.each(['before the database', 'after the database', 'before the last file'])(
    '%s',
    async (when) => {
      const old = Buffer.from(ctx.kek)
      await givenEverything()
      if (when === 'before the database') {
        await writeFile(files().next, randomBytes(32))
        expect(await start()).toEqual(old)
        expect(await there(files().next)).toBe(false)
        return
      }
      await rotateKek(ctx, by)
      await copyFile(files().current, files().next)
      await copyFile(files().previous, files().current)
      if (when === 'after the database') await rm(files().previous)
      expect(await start()).toEqual(ctx.kek)
      expect(await readFile(files().current)).toEqual(ctx.kek)
      expect(await readFile(files().previous)).toEqual(old)
      expect(await there(files().next)).toBe(false)
    },
  )

  test('a database from before the rotation names the key it needs', async () => {
    const { rows } = await sql<{ kek_check: Buffer }>`select kek_check from installation`.execute(
      handle.db,
    )
    await rotateKek(ctx, by)
    await sql`update installation set kek_check = ${rows[0]?.kek_check}`.execute(handle.db)
    await expect(start()).rejects.toMatchObject({
      name: 'InstallationError',
      message: expect.stringContaining(`put ${files().previous} in the place of`),
    })
  })
})

test('another process makes no keys with the old one, and takes the new one over', async () => {
  const other = { ...(await world.another()), kek: Buffer.from(ctx.kek) }
  await rotateKek(ctx, by)
  const make = async () => await createAuthority(other, { id: id(), purpose: 'devices', ...by })
  await expect(make()).rejects.toMatchObject({ code: 'busy' })
  await followKek(other)
  expect(other.kek).toEqual(ctx.kek)
  expect((await make()).state).toBe('prepared')
})
