import { describe, expect } from 'vitest'

import { importRegistrations } from '../../server/enrollment/registrations.ts'
import { newId } from '../../server/ids.ts'
import { type DatabaseWorld, onBothDatabases } from '../support/both-databases.ts'

const test = onBothDatabases()
let count = 0

async function givenProfile({ api }: DatabaseWorld, more: object = {}) {
  const name = `import-${(count += 1)}`
  const groupId = (await api.call('POST', '/groups', { name })).body['id']
  const body = { name, groupId, auth: { type: 'token' }, registration: 'pre-registered', ...more }
  const id = String((await api.call('POST', '/enrollment-profiles', body)).body['id'])
  const load = async (csv: string, query = '', headers: Record<string, string> = {}) =>
    await api.call('POST', `/enrollment-profiles/${id}/registrations${query}`, csv, {
      headers: { 'Content-Type': 'text/csv', ...headers },
    })
  const devices = async () =>
    await api.ctx.db
      .selectFrom('device')
      .select(['serial_number', 'name', 'state'])
      .where('enrollment_profile_id', '=', id)
      .orderBy('serial_number')
      .execute()
  return { id, load, devices }
}

const csv = (...rows: string[]) => `serialNumber,name\r\n${rows.join('\r\n')}\r\n`

describe('a file of devices', () => {
  test('registers each row, says what was wrong with others, and changes nothing the second time', async (world) => {
    const { load, devices } = await givenProfile(world, { idPattern: '^[AB]\\d+$' })
    const n = (count += 1) * 1_000
    const other = await givenProfile(world)
    await other.load(csv(`A${n + 9}`))
    const file = csv(
      `A${n},"Pump, hall 1"`,
      `A${n + 1}`,
      `A${n},again`,
      'C1',
      'A 1',
      '',
      `A${n + 2},x,y`,
      `A${n + 9}`,
      `B${n},${'x'.repeat(201)}`,
    )
    const { status, body } = await load(file)
    expect(status).toBe(200)
    expect(body).toMatchObject({ dryRun: false, rows: 8, registered: 2, unchanged: 0, refused: 6 })
    const errors = body['errors'] as { line: number; message: string }[]
    expect(errors.map(({ line }) => line).toSorted((a, b) => a - b)).toEqual([4, 5, 6, 8, 9, 10])
    expect(await devices()).toEqual([
      { serial_number: `A${n}`, name: 'Pump, hall 1', state: 'registered' },
      { serial_number: `A${n + 1}`, name: `A${n + 1}`, state: 'registered' },
    ])
    expect((await load(file)).body).toMatchObject({ registered: 0, unchanged: 2, refused: 6 })
    const audit = await world.handle.db
      .selectFrom('audit_event')
      .select('facts')
      .where('action', '=', 'enrollment-profile.register')
      .orderBy('seq', 'desc')
      .limit(1)
      .execute()
    expect(audit).toMatchObject([{ facts: { registered: 2, first: `A${n}` } }])
  })
})

describe('a file of devices: refusals and dry runs', () => {
  test('dry, says the same and writes nothing', async (world) => {
    const { load, devices } = await givenProfile(world)
    const n = (count += 1)
    const file = csv(`D${n}-1`, `D${n}-2`, `D${n}-2`, 'ä')
    const dry = await load(file, '?dryRun=true')
    expect(dry.body).toMatchObject({ dryRun: true, rows: 4, registered: 2, refused: 2 })
    expect(await devices()).toEqual([])
    const wet = await load(file)
    expect(wet.body).toEqual({ ...dry.body, dryRun: false })
  })

  test('that is not one is refused as a whole', async (world) => {
    const { load, devices, id } = await givenProfile(world)
    for (const text of [
      '',
      'SN-1\n',
      'name\nx\n',
      'serialNumber,serialNumber\na,b\n',
      '"serialNumber',
    ]) {
      const { status, body } = await load(text)
      expect([status, body['code']]).toEqual([400, 'invalid-request'])
    }
    expect((await load(csv('x'), '', { 'Content-Type': 'text/plain' })).status).toBe(415)
    expect((await load(csv('x'), '?dryRun=perhaps')).status).toBe(400)
    const path = `/enrollment-profiles/${id}/registrations`
    const viewer = { key: world.api.keys.viewer.secret, headers: { 'Content-Type': 'text/csv' } }
    expect((await world.api.call('POST', path, csv('x'), viewer)).status).toBe(403)
    expect(await devices()).toEqual([])
  })
})

describe('a large file of devices', () => {
  test('of 100,000 rows (20,000 embedded) is taken as it arrives', async (world) => {
    const { id } = await givenProfile(world)
    const { db } = world.handle
    const total = world.kind === 'PostgreSQL' ? 100_000 : 20_000
    const registered = async () => {
      const { n } = await db
        .selectFrom('device')
        .select((eb) => eb.fn.countAll<number>().as('n'))
        .where('enrollment_profile_id', '=', id)
        .executeTakeFirstOrThrow()
      return Number(n)
    }
    let farthest = 0
    async function* rows() {
      yield Buffer.from('serialNumber\n')
      for (let at = 0; at < total; at += 500) {
        if (at % 5_000 === 0) farthest = Math.max(farthest, at - (await registered()))
        const lines = Array.from({ length: 500 }, (_, n) => `R${id.slice(-6)}-${at + n}\n`)
        yield Buffer.from(lines.join(''))
      }
    }
    const by = { reach: 'fleet', actor: 'key:test', requestId: 'test' } as const
    const command = { profileId: id, isDryRun: false, ...by }
    const result = await importRegistrations(world.api.ctx, { ...command, chunks: rows() })
    expect(result).toMatchObject({ rows: total, registered: total, refused: 0 })
    expect(await registered()).toBe(total)
    // What was read and not written yet is one group at most.
    expect(farthest).toBeLessThanOrEqual(1_000)
  })

  test('has at most 100,000 rows', async (world) => {
    const { id } = await givenProfile(world)
    async function* rows() {
      yield Buffer.from('serialNumber\n')
      for (let n = 0; n < 101; n++) yield Buffer.from(' x\n'.repeat(1_000))
    }
    const command = {
      profileId: id,
      isDryRun: true,
      reach: 'fleet' as const,
      actor: 'key:test',
      requestId: newId(new Date()),
    }
    await expect(
      importRegistrations(world.api.ctx, { ...command, chunks: rows() }),
    ).rejects.toMatchObject({ code: 'too-large' })
  })
})
