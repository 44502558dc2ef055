import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'

import { afterAll, describe, expect, test } from 'vitest'

import { createTestDatabase } from '../support/database.ts'
import { probe, until } from '../support/probe.ts'
import { type RunningServer, startServer } from '../support/server.ts'
import { mountSmallDisk, type SmallDisk } from '../support/small-disk.ts'

const mb = 1024 * 1024
const thresholds = { FLEETSEAL_DISK_LOW_MB: '60', FLEETSEAL_DISK_RESERVE_MB: '24' }
const disk = mountSmallDisk(160)
const why = disk ? '' : ' (skipped: no filesystem may be mounted here)'

interface Ready {
  status: string
  disk: string
  checks: Record<string, string>
}
const readyz = async (server: RunningServer) => {
  const { status, body } = await probe(server, '/readyz')
  return { code: status, ...(body as Ready) }
}
const upload = async (server: RunningServer, bytes: Buffer) =>
  await probe(server, '/api/v1/artifacts?name=image.bin', { method: 'PUT', body: bytes })
const makeGroup = async (server: RunningServer, name: string) =>
  await probe(server, '/api/v1/groups', { method: 'POST', body: { name } })
const incoming = async (server: RunningServer) =>
  await readdir(join(server.dataDir, 'artifacts', 'incoming'))

afterAll(() => disk?.[Symbol.asyncDispose]())

/** Only called where there is one. */
function smallDisk(): SmallDisk {
  if (!disk) throw new Error('no disk')
  return disk
}

describe.skipIf(!disk)(`a disk without room${why}`, () => {
  test('embedded database: changes are refused before it is harmed, reads go on, and all is taken again when there is room', async () => {
    const room = smallDisk()
    await using server = await startServer({
      FLEETSEAL_DATA_DIR: join(room.path, 'embedded'),
      ...thresholds,
    })
    const pid = server.pid()
    expect(
      await until(
        async () => await readyz(server),
        ({ disk: state }) => state === 'ok',
      ),
    ).toMatchObject({
      code: 200,
    })
    await room.fillTo(40 * mb)
    expect(
      await until(
        async () => await readyz(server),
        ({ disk: state }) => state === 'low',
      ),
    ).toMatchObject({
      code: 200,
      checks: { disk: 'ok', database: 'ok' },
    })
    expect((await makeGroup(server, 'while it is low')).status).toBe(201)
    await room.fillTo(10 * mb)
    const full = await until(
      async () => await readyz(server),
      ({ code }) => code === 503,
    )
    expect(full).toMatchObject({ status: 'not-ready', disk: 'full' })
    expect(full.checks['disk']).toMatch(/^full/)
    await until(
      async () => await makeGroup(server, 'too late'),
      ({ status }) => status === 503,
    )
    expect((await upload(server, randomBytes(2 * mb))).status).toBe(507)
    expect(await incoming(server)).toEqual([])
    const { status, body } = await probe(server, '/api/v1/groups')
    expect(status).toBe(200)
    expect(JSON.stringify(body)).toContain('while it is low')
    await room.empty()
    await until(
      async () => await makeGroup(server, 'room again'),
      (answer) => answer.status === 201,
    )
    expect((await upload(server, randomBytes(2 * mb))).status).toBe(201)
    expect(
      await until(
        async () => await readyz(server),
        ({ code }) => code === 200,
      ),
    ).toMatchObject({ disk: 'ok' })
    expect(server.pid()).toBe(pid)
    await server.kill()
    await server.restart()
    const after = JSON.stringify((await probe(server, '/api/v1/groups')).body)
    expect(after).toContain('while it is low')
    expect(after).toContain('room again')
  })
})

describe.skipIf(!disk)(`a disk without room, beside a database that has its own${why}`, () => {
  test('PostgreSQL elsewhere: only uploads are refused, and an upload that fills the disk leaves nothing', async () => {
    const room = smallDisk()
    await using database = await createTestDatabase()
    if (database.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
    await using server = await startServer({
      DATABASE_URL: database.url,
      FLEETSEAL_DATA_DIR: join(room.path, 'postgres'),
      ...thresholds,
    })
    await room.fillTo(34 * mb)
    // There is room when it begins, and not when it is written.
    expect((await upload(server, randomBytes(30 * mb))).status).toBe(507)
    expect(await incoming(server)).toEqual([])
    await room.fillTo(5 * mb)
    expect(
      await until(
        async () => await readyz(server),
        ({ disk: state }) => state === 'full',
      ),
    ).toMatchObject({
      code: 200,
      status: 'ready',
    })
    expect((await makeGroup(server, 'goes on')).status).toBe(201)
    expect((await upload(server, randomBytes(mb))).status).toBe(507)
    await room.empty()
    expect((await upload(server, randomBytes(mb))).status).toBe(201)
  })
})
