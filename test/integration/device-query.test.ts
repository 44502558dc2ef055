import { randomUUID } from 'node:crypto'

import fc from 'fast-check'
import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { loadDeviceFacts } from '../../server/device-query/facts.ts'
import { matches } from '../../server/device-query/match.ts'
import { parseDeviceQuery } from '../../server/device-query/parse.ts'
import { matchingSql } from '../../server/device-query/sql.ts'
import { createEmbeddedDatabase, createTestDatabase } from '../support/database.ts'
import { queries } from '../support/device-queries.ts'

const now = new Date('2026-11-26T12:00:00.000Z')
const ago = (seconds: number) => new Date(now.getTime() - seconds * 1000)
const id = (n: number) => `0192f3c4-7d1e-7c3a-9b5e-${String(n).padStart(12, '0')}`

/** Values that the queries of `queries` ask for, their neighbors, and what is easily taken for them. */
const pools = {
  name: ['gate', 'Gate', 'g_te', 'g%te', String.raw`g\te`, 'ga*te', '☃ ü', 'ten"quotes', "o'clock"],
  model: [null, 'cam-1', 'cam-2', 'cam', 'CAM-1'],
  state: ['registered', 'active', 'disabled', 'revoked', 'retired'],
  agent: [null, 'sim/1.0', 'sim/1.0.1', ''],
  seenSeconds: [undefined, 0, 59, 60, 3_600, 86_400, 604_800, 604_801],
  endsSeconds: [-86_400, 0, 86_400, 2_592_000, 2_592_001],
  hardware: ['r1', 'r2', 'R1', 'r_'],
  keys: ['region', 'floor', 'we ird', '__proto__', 'constructor'],
  values: ['eu', 'uk', '', 'E%U', '7', 'true', 0, 7, -7, 1.5, 0.1, 1e15, true, false],
  components: ['app', 'radio', 'boot-loader'],
  versions: [
    '2.4.0',
    '2.4',
    'v2.4.0',
    '2.4.0-rc1',
    '2.10.0',
    '2.4.0.1',
    'nightly',
    '',
    '10',
    '2.4.0+b7',
    '02.4.0',
  ],
}

interface Described {
  name: string
  model: string | null
  state: string
  agent: string | null
  optOut: boolean
  managed: boolean
  connected: boolean
  seenSeconds: number | undefined
  ends: number[]
  hardwareIds: string[]
  attributes: Record<string, string | number | boolean>
  installed: { component: string; version: string; build: number; svn: number }[]
  groups: number[]
  profile: boolean
}

const described: fc.Arbitrary<Described> = fc.record({
  name: fc.constantFrom(...pools.name),
  model: fc.constantFrom(...pools.model),
  state: fc.constantFrom(...pools.state),
  agent: fc.constantFrom(...pools.agent),
  optOut: fc.boolean(),
  managed: fc.boolean(),
  connected: fc.boolean(),
  seenSeconds: fc.constantFrom(...pools.seenSeconds),
  ends: fc.uniqueArray(fc.constantFrom(...pools.endsSeconds), { maxLength: 2 }),
  hardwareIds: fc.uniqueArray(fc.constantFrom(...pools.hardware), { maxLength: 3 }),
  attributes: fc.dictionary(fc.constantFrom(...pools.keys), fc.constantFrom(...pools.values), {
    noNullPrototype: true,
  }),
  installed: fc.uniqueArray(
    fc.record({
      component: fc.constantFrom(...pools.components),
      version: fc.constantFrom(...pools.versions),
      build: fc.constantFrom(0, 1, 7, 2 ** 40),
      svn: fc.constantFrom(0, 1, 7),
    }),
    { selector: ({ component }) => component, maxLength: 3 },
  ),
  groups: fc.uniqueArray(fc.constantFrom(0, 1), { maxLength: 2 }),
  profile: fc.boolean(),
})

describe.each([
  ['PostgreSQL', createTestDatabase],
  ['PGlite', createEmbeddedDatabase],
] as const)('on %s', (_kind, create) => {
  let handle: DatabaseHandle
  const ids: string[] = []
  beforeAll(async () => {
    handle = await create()
    // The same devices in every run.
    ids.push(...(await insert(handle, fc.sample(described, { numRuns: 120, seed: 26_11_2026 }))))
  })
  afterAll(() => handle[Symbol.asyncDispose]())

  test('SQL and memory find the same devices, whatever the query', async () => {
    const facts = await loadDeviceFacts(handle.db, ids)
    expect(facts).toHaveLength(120)
    let found = 0
    await fc.assert(
      fc.asyncProperty(queries, async (text) => {
        const query = parseDeviceQuery(text)
        const { rows } = await sql<{ id: string }>`
          select id from device where ${matchingSql(query, now, 'fleet')} order by id`.execute(
          handle.db,
        )
        const inMemory = facts.filter((device) => matches(query, device, now)).map((one) => one.id)
        expect(rows.map((row) => row.id)).toEqual(inMemory.toSorted())
        if (rows.length > 0 && rows.length < 120) found += 1
      }),
      { numRuns: 300, seed: 4_711 },
    )
    // Queries that find everybody or nobody would prove little.
    expect(found).toBeGreaterThan(100)
  })

  test.each([
    ['a text with quotation marks', String.raw`name = "ten\"quotes"`, 'name', 'ten"quotes'],
    ['a percent sign is a percent sign', 'name like "g%*"', 'name', 'g%te'],
  ])('%s', async (_what, text, _field, value) => {
    const query = parseDeviceQuery(text)
    const { rows } = await sql<{ name: string }>`
      select name from device where ${matchingSql(query, now, 'fleet')}`.execute(handle.db)
    expect(new Set(rows.map((row) => row.name))).toEqual(new Set([value]))
  })
})

async function insert({ db }: DatabaseHandle, devices: readonly Described[]): Promise<string[]> {
  const groups = [randomUUID(), randomUUID()]
  const [profile, node, authority] = [randomUUID(), randomUUID(), randomUUID()]
  await sql`insert into device_group (id, name, created_at) values
    (${groups[0]}, 'lab', ${now}), (${groups[1]}, 'field', ${now})`.execute(db)
  await sql`insert into enrollment_profile (id, name, group_id, auth_type, registration, key_policy, certificate_days, created_at)
    values (${profile}, 'line-a', ${groups[0]}, 'token', 'just-in-time', '{}', 90, ${now})`.execute(
    db,
  )
  await sql`insert into authority (id, purpose, name, certificate, created_at)
    values (${authority}, 'devices', 'ca', '\\x00', ${now})`.execute(db)
  for (const [n, device] of devices.entries()) {
    await sql`insert into device (id, name, serial_number, state, model, hardware_ids, agent, attributes, installed,
        update_opt_out, managed, enrollment_profile_id, created_at, changed_at)
      values (${id(n)}, ${device.name}, ${`SN-${n}`}, ${device.state}, ${device.model}, ${device.hardwareIds}::text[],
        ${device.agent}, ${JSON.stringify(device.attributes)}::jsonb, ${JSON.stringify(device.installed)}::jsonb,
        ${device.optOut}, ${device.managed}, ${device.profile ? profile : null}, ${ago(n * 3_600)}, ${now})`.execute(
      db,
    )
    if (device.seenSeconds !== undefined) {
      await sql`insert into device_presence (device_id, node_id, epoch, connected, last_seen_at)
        values (${id(n)}, ${node}, 1, ${device.connected}, ${ago(device.seenSeconds)})`.execute(db)
    }
    for (const group of device.groups) {
      await sql`insert into device_group_member values (${groups[group]}, ${id(n)})`.execute(db)
    }
    for (const [k, seconds] of device.ends.entries()) {
      await sql`insert into certificate (id, authority_id, serial, kind, state, device_id, spki_sha256, tbs, der,
          subject, not_before, not_after, created_at)
        values (${randomUUID()}, ${authority}, ${Buffer.from(`serial-${n}-${k}`.padEnd(12, '.'))}, 'device',
          ${k === 0 ? 'issued' : 'superseded'}, ${id(n)}, ${Buffer.alloc(32)}, '\\x00', '\\x00', '', ${now},
          ${ago(-seconds)}, ${now})`.execute(db)
    }
  }
  return devices.map((_, n) => id(n))
}
