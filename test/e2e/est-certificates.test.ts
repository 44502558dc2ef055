import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { encodeName } from '../../pki/names.ts'
import { fromPem, toPem } from '../../pki/pem.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { claimIdentity } from '../../pki/x509/profiles.ts'
import { actOnAuthority, createAuthority } from '../../server/authorities/service.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { issueClaim } from '../../server/enrollment/claim-issue.ts'
import { registerClaim } from '../../server/enrollment/claims.ts'
import { endToken } from '../../server/enrollment/service.ts'
import { newId } from '../../server/ids.ts'
import { createTestDatabase } from '../support/database.ts'
import { base64Lines, estClient, listenForDevices } from '../support/est-client.ts'
import {
  by,
  createIdentityWorld,
  type IdentityWorld,
  newRequest,
  unique,
} from '../support/identity-world.ts'
import {
  createManufacturer,
  type Held,
  heldPem,
  issuedByLeaf,
  type Manufacturer,
} from '../support/manufacturer.ts'

let handle: DatabaseHandle
let world: IdentityWorld
let listeners: Awaited<ReturnType<typeof listenForDevices>>
let est: ReturnType<typeof estClient>
let maker: Manufacturer

beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  listeners = await listenForDevices(world.ctx)
  est = estClient(world.ctx, listeners.device.port)
  maker = await createManufacturer()
})
afterAll(async () => {
  await listeners[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const enroll = async (held: Held, serialNumber: string, path = 'simpleenroll') =>
  await est({ path, body: base64Lines(newRequest(serialNumber).csr), tls: heldPem(held) })

const givenClaim = async (
  profileId: string,
  { maxUses = 5, held }: { maxUses?: number; held?: Held } = {},
) => {
  const claim = held ?? (await maker.claim())
  const certificate = toPem('CERTIFICATE', claim.der)
  const id = newId(world.ctx.clock.now())
  const command = { id, profileId, certificate, maxUses, expiresAt: undefined, ...by }
  return { claim, row: await registerClaim(world.ctx, command) }
}

const usesOf = async (id: string) =>
  await world.ctx.db
    .selectFrom('enrollment_token')
    .select('uses')
    .where('id', '=', id)
    .executeTakeFirst()

describe('by claim certificate', () => {
  test('A18 enrolls as often as it may and not once more', async () => {
    const profile = await world.givenProfile({ auth: { type: 'claim' } })
    const { claim, row } = await givenClaim(profile.id, { maxUses: 2 })
    const answers = await Promise.all(
      [1, 2, 3, 4].map(async () => await enroll(claim, unique('SN'))),
    )
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([
      200, 200, 403, 403,
    ])
    expect(await usesOf(row.id)).toEqual({ uses: 2 })
    const audit = await world.ctx.db
      .selectFrom('audit_event')
      .select('action')
      .where('actor', '=', `token:${row.id}`)
      .where('action', '=', 'certificate.issue')
      .execute()
    expect(audit).toHaveLength(2)
  })

  test('A18 is bound to its line', async () => {
    const profile = await world.givenProfile({ auth: { type: 'claim' } })
    const other = await world.givenProfile({ auth: { type: 'claim' } })
    const { claim } = await givenClaim(profile.id)
    const wrong = await enroll(claim, unique('SN'), `${other.name}/simpleenroll`)
    expect(wrong.status).toBe(403)
    const right = await enroll(claim, unique('SN'), `${profile.name}/simpleenroll`)
    expect(right.status).toBe(200)
  })

  test('A18 not after its end, outside the window of its line, or when an operator ended it', async () => {
    const closed = { validUntil: new Date('2020-01-01') }
    const past = await world.givenProfile({ auth: { type: 'claim' }, ...closed })
    const { claim } = await givenClaim(past.id)
    expect((await enroll(claim, unique('SN'))).status).toBe(403)
    const profile = await world.givenProfile({ auth: { type: 'claim' } })
    const ended = await givenClaim(profile.id)
    expect((await enroll(ended.claim, unique('SN'))).status).toBe(200)
    await endToken(world.ctx, { profileId: profile.id, tokenId: ended.row.id, ...by })
    expect((await enroll(ended.claim, unique('SN'))).status).toBe(403)
    const over = await maker.claim({
      notAfter: new Date(Math.floor(Date.now() / 1000) * 1000 - 60_000),
    })
    await expect(givenClaim(profile.id, { held: over })).rejects.toMatchObject({
      code: 'invalid-request',
    })
  })
})

describe('by claim certificate: refusals', () => {
  test('A18 one that nobody registered opens nothing, whoever issued it', async () => {
    const trustAnchors = [maker.pem.root]
    const profile = await world.givenProfile({ auth: { type: 'claim', trustAnchors } })
    const stranger = await maker.claim()
    const answer = await enroll(stranger, unique('SN'), `${profile.name}/simpleenroll`)
    expect(answer.status).toBe(403)
    expect((await enroll(stranger, unique('SN'))).status).toBe(401)
  })

  test('A19 cannot enroll a device that has an identity, nor do anything else', async () => {
    const victim = await world.givenDevice()
    const profile = await world.givenProfile({ auth: { type: 'claim' } })
    const { claim, row } = await givenClaim(profile.id)
    expect((await enroll(claim, victim.serialNumber)).status).toBe(403)
    expect(await usesOf(row.id)).toEqual({ uses: 0 })
    const tls = heldPem(claim)
    for (const path of ['/artifacts/none', '/tuf/director/root.json'])
      expect((await est({ path, tls })).status).toBe(403)
    const body = base64Lines(newRequest(unique('SN')).csr)
    expect((await est({ path: 'simplereenroll', body, tls })).status).toBe(403)
  })

  test('is not one that belongs to an authority or names a device', async () => {
    const profile = await world.givenProfile({ auth: { type: 'claim' } })
    const { der } = maker.issuer.certificate
    const ca = { key: (await maker.claim()).key, der, chain: [der] }
    const device = await world.givenDevice()
    const own = { key: device.key, der: device.der, chain: [device.der] }
    for (const held of [ca, own]) {
      await expect(givenClaim(profile.id, { held })).rejects.toMatchObject({
        code: 'invalid-request',
      })
    }
  })
})

const givenLine = async (body: object = {}, pem = maker.pem.issuer) =>
  await world.givenProfile({ auth: { type: 'certificate', trustAnchors: [pem] }, ...body })

describe('ways in that do not exist', () => {
  test('A22 another scheme, operation or method is refused, whatever certificate comes with it', async () => {
    const profile = await world.givenProfile({ auth: { type: 'claim' } })
    const { claim, row } = await givenClaim(profile.id)
    const tls = heldPem(claim)
    const body = base64Lines(newRequest(unique('SN')).csr)
    // Who sends credentials is judged by them: a wrong one does not fall back to the certificate.
    for (const authorization of ['Bearer x', 'Digest username="x"', 'Basic !', 'Basic eDp5', 'x']) {
      const headers = { Authorization: authorization }
      expect((await est({ path: 'simpleenroll', body, tls, headers })).status).toBe(401)
    }
    for (const [path, status] of [
      ['simpleEnroll', 404],
      ['enroll', 404],
      ['fullcmc', 501],
      [`${profile.name}/${profile.name}/simpleenroll`, 404],
    ] as const) {
      expect((await est({ path, body, tls })).status).toBe(status)
    }
    for (const method of ['GET', 'PUT', 'DELETE'])
      expect((await est({ path: 'simpleenroll', method, tls })).status).toBe(405)
    expect(await usesOf(row.id)).toEqual({ uses: 0 })
    expect((await est({ path: 'simpleenroll', body, tls })).status).toBe(200)
  })
})

describe('by a claim certificate of our own', () => {
  const issue = async (profileId: string, csr: Buffer) => {
    const id = newId(world.ctx.clock.now())
    const request = { profileId, csr: csr.toString('base64'), days: 7, maxUses: 2, ...by }
    const first = await issueClaim(world.ctx, { id, ...request })
    expect(await issueClaim(world.ctx, { id, ...request })).toEqual(first)
    return first
  }

  test('A18, A19 it is issued by an authority for claims alone, enrolls, and does nothing else', async () => {
    const profile = await world.givenProfile({ auth: { type: 'claim' } })
    const { key, csr } = newRequest('whatever')
    await expect(issue(profile.id, csr)).rejects.toMatchObject({ code: 'not-ready' })
    const authority = newId(world.ctx.clock.now())
    await createAuthority(world.ctx, { id: authority, purpose: 'claims', ...by })
    await actOnAuthority(world.ctx, { id: authority, action: 'activate', ...by })
    const { claim, pem } = await issue(profile.id, csr)
    const chain = fromPem(pem, 'CERTIFICATE')
    const [der = Buffer.alloc(0)] = chain
    const { issuer, subjectAltName } = parseCertificate(der)
    expect(issuer).not.toEqual(world.ctx.authorities.devices.certificate.subject)
    expect(subjectAltName).toEqual([claimIdentity(claim.id)])
    const held = { key, der, chain }
    expect((await enroll(held, unique('SN'))).status).toBe(200)
    const tls = heldPem(held)
    expect((await est({ path: '/artifacts/none', tls })).status).toBe(403)
    const body = base64Lines(newRequest(unique('SN')).csr)
    expect((await est({ path: 'simplereenroll', body, tls })).status).toBe(403)
    // Not with the key of a device, nor in a line that has anchors of its own.
    const device = await world.givenDevice()
    const taken = newRequest('x', { key: device.key }).csr
    await expect(issue(profile.id, taken)).rejects.toMatchObject({ code: 'not-allowed' })
    const trustAnchors = [maker.pem.root]
    const other = await world.givenProfile({ auth: { type: 'claim', trustAnchors } })
    await expect(issue(other.id, newRequest('y').csr)).rejects.toMatchObject({ code: 'conflict' })
    await inTransaction(world.ctx.db, (tx) =>
      tx
        .updateTable('certificate')
        .set({ state: 'revoked', revoked_at: new Date(), revocation_reason: 'keyCompromise' })
        .where('kind', '=', 'claim')
        .execute(),
    )
    expect((await enroll(held, unique('SN'))).status).toBe(403)
  })
})

describe("by the manufacturer's certificate", () => {
  test('enrolls the device it names, by issuer or root as anchor, again with the same request', async () => {
    for (const pem of [maker.pem.issuer, maker.pem.root]) {
      const line = await givenLine({}, pem)
      const serial = unique('SN')
      const idevid = await maker.idevid(serial)
      const body = base64Lines(newRequest(serial).csr)
      const call = { path: `${line.name}/simpleenroll`, body, tls: heldPem(idevid) }
      const answer = await est(call)
      expect(answer.status).toBe(200)
      const [der = Buffer.alloc(0)] = answer.certificates
      expect(parseCertificate(der).issuer).toEqual(
        world.ctx.authorities.devices.certificate.subject,
      )
      expect((await est(call)).certificates).toEqual([der])
    }
  })

  test('without a label, when one line takes it; several need a label', async () => {
    const own = await createManufacturer('Own')
    await givenLine({}, own.pem.issuer)
    const serial = unique('SN')
    expect((await enroll(await own.idevid(serial), serial)).status).toBe(200)
    await givenLine({}, own.pem.issuer)
    const next = unique('SN')
    const answer = await enroll(await own.idevid(next), next)
    expect(answer.status).toBe(403)
    expect(answer.text).toContain('name of one')
  })

  test('A19 cannot enroll another serial number', async () => {
    const line = await givenLine()
    const path = `${line.name}/simpleenroll`
    const idevid = await maker.idevid(unique('SN'))
    expect((await enroll(idevid, unique('SN'), path)).status).toBe(403)
  })

  test('the rules of the line hold for it too', async () => {
    const line = await givenLine({ idPattern: '^\\d+$' })
    const serial = unique('SN')
    const path = `${line.name}/simpleenroll`
    expect((await enroll(await maker.idevid(serial), serial, path)).status).toBe(403)
    const digits = String(Date.now())
    expect((await enroll(await maker.idevid(digits), digits, path)).status).toBe(200)
    const listed = await givenLine({ registration: 'pre-registered' })
    const unknown = unique('SN')
    const answer = await enroll(await maker.idevid(unknown), unknown, `${listed.name}/simpleenroll`)
    expect(answer.status).toBe(403)
  })
})

describe("by the manufacturer's certificate: refusals", () => {
  test('A11 same names with another key, and what no authority signed, open nothing', async () => {
    const line = await givenLine()
    const path = `${line.name}/simpleenroll`
    const forger = await createManufacturer('Maker')
    const serial = unique('SN')
    const forged = await forger.idevid(serial)
    const leaf = await maker.idevid(serial)
    const { der } = maker.issuer.certificate
    for (const held of [
      forged,
      // The real issuer in the chain does not make it its own.
      { ...forged, chain: [forged.der, der] },
      // A10 a leaf that signs
      await issuedByLeaf(leaf, unique('SN')),
    ]) {
      expect((await enroll(held, serial, path)).status).toBe(403)
    }
    expect((await enroll(leaf, serial, path)).status).toBe(200)
  })

  test('a certificate that has ended does not', async () => {
    const line = await givenLine()
    const serial = unique('SN')
    const notAfter = new Date(Math.floor(Date.now() / 1000) * 1000 - 3_600_000)
    const ended = await maker.claim({ subject: encodeName({ serialNumber: serial }), notAfter })
    const path = `${line.name}/simpleenroll`
    expect((await enroll(ended, serial, path)).status).toBe(403)
    const good = await maker.claim({ subject: encodeName({ serialNumber: serial }) })
    expect((await enroll(good, serial, path)).status).toBe(200)
  })

  test("a token is no way into a line of certificates, and the device's own is none at all", async () => {
    const line = await givenLine()
    await expect(world.givenToken(line.id)).rejects.toMatchObject({ code: 'conflict' })
    const device = await world.givenDevice()
    const own = {
      key: device.key,
      der: device.der,
      chain: [device.der, world.ctx.authorities.devices.der],
    }
    const answer = await enroll(own, unique('SN'), `${line.name}/simpleenroll`)
    expect(answer.status).toBe(403)
  })
})
