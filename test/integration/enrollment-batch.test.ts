import { zipSync } from 'fflate'
import { beforeAll, describe, expect, test } from 'vitest'

import { fromPem, toPem } from '../../pki/pem.ts'
import { fingerprint, parseCertificate } from '../../pki/x509/parse.ts'
import { getBatch, listResults } from '../../server/enrollment/batch-store.ts'
import { createBatch, workOnBatches } from '../../server/enrollment/batch.ts'
import { newId } from '../../server/ids.ts'
import { startApi } from '../support/api.ts'
import { by, type IdentityWorld, newRequest, unique } from '../support/identity-world.ts'
import { createWorlds, kinds } from '../support/two-worlds.ts'

let world: IdentityWorld
const worldOn = createWorlds()

async function* once(text: string) {
  yield Buffer.from(text)
}
const csv = (...fields: string[]) => `csr\n${fields.map((field) => `"${field}"`).join('\n')}\n`
const pem = (csr: Buffer) => toPem('CERTIFICATE REQUEST', csr)

async function load(profileId: string, text: string, id = newId(world.ctx.clock.now())) {
  return await createBatch(world.ctx, {
    id,
    profileId,
    type: 'text/csv',
    chunks: once(text),
    ...by,
  })
}

const rowsOf = async (id: string) =>
  await listResults(world.ctx.db, id, { reach: 'fleet', after: 0, limit: 1_000 })

async function workThrough(ctx = world.ctx) {
  while (await workOnBatches(ctx));
}

describe.each(kinds)('a file of requests on %s', (kind) => {
  beforeAll(() => {
    ;({ world } = worldOn(kind))
  })

  test('gives a certificate for each good one, and says what was wrong with the others', async () => {
    const profile = await world.givenProfile({ approval: 'manual', quota: 3 })
    const good = [1, 2].map(() => newRequest(unique('SN')))
    const taken = await world.givenDevice()
    const file = csv(
      pem(good[0]?.csr ?? Buffer.alloc(0)),
      'nonsense!',
      good[1]?.csr.toString('base64') ?? '',
      newRequest(taken.serialNumber).csr.toString('base64'),
      Buffer.from('no request').toString('base64'),
    )
    const batch = await load(profile.id, file)
    expect(batch).toMatchObject({ state: 'running', total: 5, issued: 0, failed: 1 })
    await workThrough()
    expect(await getBatch(world.ctx.db, batch.id, 'fleet')).toMatchObject({
      state: 'done',
      issued: 2,
      failed: 3,
    })
    const rows = await rowsOf(batch.id)
    expect(rows.map(({ state }) => state)).toEqual([
      'issued',
      'failed',
      'issued',
      'failed',
      'failed',
    ])
    for (const { state, message, der } of rows) {
      if (state === 'failed') expect(message).toMatch(/\w{4}/)
      else expect(parseCertificate(der ?? Buffer.alloc(0)).isCa).toBe(false)
    }
    const audit = await world.ctx.db
      .selectFrom('audit_event')
      .select('action')
      .where((eb) =>
        eb.or([eb('subject', '=', batch.id), eb('actor', '=', `token:${batch.token_id}`)]),
      )
      .execute()
    expect(audit.map(({ action }) => action).toSorted()).toEqual([
      'certificate.issue',
      'certificate.issue',
      'enrollment-batch.create',
      'enrollment-batch.finish',
    ])
  })
})

describe.each(kinds)('a file of requests and crashes on %s', (kind) => {
  beforeAll(() => {
    ;({ world } = worldOn(kind))
  })

  test('is worked on by two processes, and after one died, without a second certificate', async () => {
    const profile = await world.givenProfile()
    const requests = Array.from({ length: 8 }, () => newRequest(unique('SN')).csr)
    const batch = await load(profile.id, csv(...requests.map((csr) => csr.toString('base64'))))
    const { devices } = world.ctx.authorities
    let left = 3
    const sign = async (bytes: Buffer) => {
      if ((left -= 1) < 0) throw new Error('the process died')
      return await devices.signer.sign(bytes)
    }
    const { tls } = world.ctx.authorities
    const dying = { ...devices, signer: { ...devices.signer, sign } }
    const authorities = { ...world.ctx.authorities, tls, devices: dying }
    await expect(workThrough({ ...world.ctx, authorities })).rejects.toMatchObject({ code: 'busy' })
    expect((await getBatch(world.ctx.db, batch.id, 'fleet')).issued).toBe(3)
    const other = await world.another()
    await Promise.allSettled([workThrough(), workThrough(other)])
    await workThrough()
    expect(await getBatch(world.ctx.db, batch.id, 'fleet')).toMatchObject({
      state: 'done',
      issued: 8,
    })
    const prints = (await rowsOf(batch.id)).map((row) => row.fingerprint)
    expect(new Set(prints).size).toBe(8)
    const issued = await world.ctx.db
      .selectFrom('certificate')
      .select('fingerprint')
      .where('enrollment_token_id', '=', batch.token_id)
      .execute()
    expect(issued).toHaveLength(8)
  })
})

describe.each(kinds)('a file of requests, coming in, on %s', (kind) => {
  beforeAll(() => {
    ;({ world } = worldOn(kind))
  })

  test('that is not one leaves nothing; the same id again is the same batch', async () => {
    const profile = await world.givenProfile()
    for (const text of ['', 'request\nx\n', 'csr\n"open']) {
      const id = newId(world.ctx.clock.now())
      await expect(load(profile.id, text, id)).rejects.toMatchObject({ code: 'invalid-request' })
      await expect(getBatch(world.ctx.db, id, 'fleet')).rejects.toMatchObject({ code: 'not-found' })
    }
    const id = newId(world.ctx.clock.now())
    const file = csv(newRequest(unique('SN')).csr.toString('base64'))
    expect(await load(profile.id, file, id)).toEqual(await load(profile.id, file, id))
    await workThrough()
    expect(await getBatch(world.ctx.db, id, 'fleet')).toMatchObject({ total: 1, issued: 1 })
  })

  test('comes in and out over REST', async () => {
    const { handle } = worldOn(kind)
    await using api = await startApi(handle, world.ctx)
    const profile = await world.givenProfile()
    const file = csv(pem(newRequest(unique('SN')).csr), 'x!')
    const headers = { 'Content-Type': 'text/csv' }
    const path = `/enrollment-profiles/${profile.id}/batches`
    const made = await api.call('POST', path, file, { headers })
    expect([made.status, made.body['total'], made.body['failed']]).toEqual([201, 2, 1])
    await workThrough()
    const batch = `/enrollment-batches/${String(made.body['id'])}`
    expect((await api.call('GET', batch)).body).toMatchObject({ state: 'done', issued: 1 })
    const first = await api.call('GET', `${batch}/rows?limit=1`)
    const [row] = first.body.items ?? []
    const [der = Buffer.alloc(0)] = fromPem(String(row?.['certificate']), 'CERTIFICATE')
    expect(fingerprint(der)).toBe(row?.['fingerprint'])
    const cursor = String(first.body['nextCursor'])
    const next = await api.call('GET', `${batch}/rows?limit=1&cursor=${cursor}`)
    expect(next.body).toMatchObject({ items: [{ row: 2, state: 'failed' }], nextCursor: null })
    const other = await api.call('POST', path, file, { headers: { 'Content-Type': 'text/plain' } })
    expect(other.status).toBe(415)
    const uuid = Buffer.from(profile.id).toString('base64url')
    expect((await api.call('GET', `${batch}/rows?cursor=${uuid}`)).status).toBe(400)
  })
})

describe.each(kinds)('a ZIP of requests on %s', (kind) => {
  beforeAll(() => {
    ;({ world } = worldOn(kind))
  })

  test('is a batch like any other: PEM, base64 and DER, a row for each file', async () => {
    const { handle } = worldOn(kind)
    await using api = await startApi(handle, world.ctx)
    const profile = await world.givenProfile()
    const [first, second, third] = [1, 2, 3].map(() => newRequest(unique('SN')).csr)
    const archive = zipSync({
      '../pump.pem': Buffer.from(pem(first ?? Buffer.alloc(0))),
      'readme.txt': Buffer.from('These are for line 7.'),
      'b/valve.b64': Buffer.from(second?.toString('base64') ?? ''),
      'b/valve.der': Buffer.from(third ?? Buffer.alloc(0)),
      'b/large': Buffer.alloc(20_000),
    })
    const headers = { 'Content-Type': 'application/zip' }
    const path = `/enrollment-profiles/${profile.id}/batches`
    const made = await api.call('POST', path, Buffer.from(archive), { headers })
    expect([made.status, made.body['total'], made.body['failed']]).toEqual([201, 5, 2])
    await workThrough()
    const { body } = await api.call('GET', `/enrollment-batches/${String(made.body['id'])}/rows`)
    expect(body.items?.map((row) => row['state'])).toEqual([
      'issued',
      'failed',
      'issued',
      'issued',
      'failed',
    ])
    const broken = await api.call('POST', path, Buffer.from('PK nothing'), { headers })
    expect([broken.status, broken.body['code']]).toEqual([400, 'invalid-request'])
    const batches = await api.call('GET', '/enrollment-batches')
    expect(batches.body.items?.filter((batch) => batch['profileId'] === profile.id)).toHaveLength(1)
  })
})
