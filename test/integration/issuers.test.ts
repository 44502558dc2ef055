import { afterEach, beforeEach, expect, test } from 'vitest'

import { findRevoked, parseCrl, verifyCrl } from '../../pki/crl/parse.ts'
import { buildCsr } from '../../pki/csr/build.ts'
import { parseCsr } from '../../pki/csr/parse.ts'
import { keyFamilyIn } from '../../pki/keys.ts'
import { encodeCertId, issuerHashes } from '../../pki/ocsp/cert-id.ts'
import { checkOcspResponse } from '../../pki/ocsp/check.ts'
import { buildOcspRequest } from '../../pki/ocsp/request.ts'
import { parseOcspResponse } from '../../pki/ocsp/response.ts'
import { validatePath } from '../../pki/path-validate.ts'
import { fingerprint, parseCertificate } from '../../pki/x509/parse.ts'
import { destroyEndedKeys } from '../../server/authorities/destroy-key.ts'
import { maxNameBytes, nameBytes } from '../../server/authorities/name-budget.ts'
import { createRequest } from '../../server/authorities/requests.ts'
import {
  actOnAuthority,
  type CreateAuthority,
  createAuthority,
} from '../../server/authorities/service.ts'
import { latestCrl, publishDueCrls } from '../../server/certificates/crl.ts'
import { OcspDesk } from '../../server/certificates/ocsp.ts'
import { endOverlaps } from '../../server/certificates/overlap.ts'
import { revokeCertificate } from '../../server/certificates/revocation.ts'
import { setIssuer } from '../../server/enrollment/issuer.ts'
import { renew } from '../../server/enrollment/renew.ts'
import { newId } from '../../server/ids.ts'
import { actOnDevice } from '../../server/incidents/service.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  by,
  createIdentityWorld,
  type IdentityWorld,
  newRequest,
  unique,
  type WorldContext,
} from '../support/identity-world.ts'

let world: IdentityWorld
let ctx: WorldContext
let own: Awaited<ReturnType<typeof createTestDatabase>>

beforeEach(async () => {
  own = await createTestDatabase()
  world = await createIdentityWorld(own)
  ctx = world.ctx
})
afterEach(async () => {
  await world[Symbol.asyncDispose]()
  await own[Symbol.asyncDispose]()
})

const make = async (choices: Partial<CreateAuthority> = {}) =>
  await createAuthority(ctx, { id: newId(ctx.clock.now()), purpose: 'devices', ...choices, ...by })
const act = async (id: string, action: 'activate' | 'retire' | 'destroy-key') =>
  await actOnAuthority(ctx, { id, action, ...by })
const issuedBy = (der: Buffer, authority: { certificate: Buffer }) =>
  parseCertificate(der).issuer.equals(parseCertificate(authority.certificate).subject)
const chains = (der: Buffer, issuer: Buffer) =>
  validatePath([der, issuer], [ctx.authorities.root.der], {
    at: ctx.clock.now(),
    purpose: 'clientAuth',
  }).valid

async function enrolledIn(issuerSeries?: string) {
  const profile = await world.givenProfile(issuerSeries === undefined ? {} : { issuerSeries })
  const { csr } = newRequest(unique('SN'))
  return await world.enrollWith(await world.givenToken(profile.id), csr)
}

test('a profile names its issuer; others keep the default one', async () => {
  const acme = await make({ series: 'acme' })
  expect(acme).toMatchObject({ series: 'acme', state: 'active' })
  const ofAcme = await enrolledIn('acme')
  const ofAll = await enrolledIn()
  expect(issuedBy(ofAcme, acme)).toBe(true)
  expect(chains(ofAcme, acme.certificate)).toBe(true)
  expect(ctx.authorities.devices.certificate.subject).toEqual(parseCertificate(ofAll).issuer)
  // Accepted in handshakes and given out like every other.
  expect(ctx.authorities.clientCa).toHaveLength(3)
  expect(ctx.authorities.distributed).toContainEqual(acme.certificate)

  await expect(enrolledIn('nobody')).rejects.toMatchObject({
    code: 'not-ready',
    message: expect.stringContaining('fleetseal authority create devices --series nobody'),
  })
})

test('R8 a series is rolled over by itself, and its devices follow at their renewal', async () => {
  const first = await make({ series: 'acme' })
  const profile = await world.givenProfile({ issuerSeries: 'acme' })
  const device = await world.givenDevice({ profile })
  expect(issuedBy(device.der, first)).toBe(true)

  const defaultId = ctx.authorities.devices.id
  const second = await make({ series: 'acme' })
  expect(second.state).toBe('prepared')
  await act(second.id, 'activate')
  expect(ctx.authorities.devices.id).toBe(defaultId)

  const verdict = await ctx.identities.check(device.fingerprint)
  if (!verdict.allowed) throw new Error(verdict.refusal)
  const { subject } = parseCertificate(device.der)
  const csr = buildCsr(device.key, { subject, uris: [`urn:uuid:${device.deviceId}`] })
  const next = await renew(ctx, {
    identity: verdict.identity,
    csr: parseCsr(csr),
    label: profile.name,
  })
  expect(issuedBy(next, second)).toBe(true)

  ctx.clock.advance({ seconds: 61 })
  await expect(act(first.id, 'retire')).rejects.toMatchObject({ code: 'conflict' })
  ctx.clock.advance({ seconds: 91 * 86_400 })
  expect(await act(first.id, 'retire')).toMatchObject({ state: 'retired' })
})

test('a profile moves to another issuer, and its devices with their next certificate', async () => {
  const pq = await make({ series: 'pq', algorithm: 'ML-DSA-65' })
  const profile = await world.givenProfile()
  const token = await world.givenToken(profile.id)
  const command = { profileId: profile.id, actor: by.actor, requestId: by.requestId }
  await expect(setIssuer(ctx, { ...command, series: 'nobody' })).rejects.toMatchObject({
    code: 'not-ready',
  })
  expect(issuedBy(await world.enrollWith(token, newRequest(unique('SN')).csr), pq)).toBe(false)
  await setIssuer(ctx, { ...command, series: 'pq' })
  await setIssuer(ctx, { ...command, series: 'pq' })
  expect(issuedBy(await world.enrollWith(token, newRequest(unique('SN')).csr), pq)).toBe(true)
  // Who saw it as it was before changes nothing, and who saw it as it is does.
  const again = await setIssuer(ctx, { ...command, series: null })
  const { version } = await setIssuer(ctx, { ...command, series: 'pq' })
  const stale = { ...command, series: null, ifMatch: [String(again.version)] }
  await expect(setIssuer(ctx, stale)).rejects.toMatchObject({ code: 'precondition-failed' })
  await setIssuer(ctx, { ...command, series: null, ifMatch: [String(version)] })
  expect(issuedBy(await world.enrollWith(token, newRequest(unique('SN')).csr), pq)).toBe(false)
  // The last of a series goes when nobody needs it.
  await expect(act(ctx.authorities.devices.id, 'retire')).rejects.toMatchObject({
    code: 'illegal-transition',
  })
  await expect(act(pq.id, 'retire')).rejects.toMatchObject({ code: 'conflict' })
  ctx.clock.advance({ seconds: 91 * 86_400 })
  await setIssuer(ctx, { ...command, series: 'pq' })
  await expect(act(pq.id, 'retire')).rejects.toMatchObject({ code: 'illegal-transition' })
  await setIssuer(ctx, { ...command, series: null })
  expect(await act(pq.id, 'retire')).toMatchObject({ state: 'retired' })
  const audits = await ctx.db
    .selectFrom('audit_event')
    .select('facts')
    .where('action', '=', 'enrollment-profile.set-issuer')
    .execute()
  expect(audits).toHaveLength(6)
})

test('only issuers of devices have several series, and one is active in each', async () => {
  await expect(make({ purpose: 'servers', series: 'acme' })).rejects.toMatchObject({
    code: 'invalid-request',
  })
  await expect(
    createRequest(ctx, { id: newId(ctx.clock.now()), purpose: 'claims', series: 'acme', ...by }),
  ).rejects.toMatchObject({ code: 'invalid-request' })
  await make({ series: 'acme' })
  await make({ series: 'acme' })
  await expect(
    ctx.db.updateTable('authority').set({ state: 'active' }).where('series', '=', 'acme').execute(),
  ).rejects.toThrow()
})

test('P12 an ML-DSA issuer signs leaves and lists with ML-DSA, beside the EC one', async () => {
  const quantum = await make({ series: 'pq', algorithm: 'ML-DSA-87' })
  const { spki } = parseCertificate(quantum.certificate)
  expect(keyFamilyIn(spki)).toBe('ML-DSA-87')
  const profile = await world.givenProfile({ issuerSeries: 'pq', keyPolicy: ['ML-DSA-65'] })
  const { csr } = newRequest(unique('SN'), { algorithm: 'ML-DSA-65' })
  const token = await world.givenToken(profile.id)
  const der = await world.enrollWith(token, csr)
  expect(chains(der, quantum.certificate)).toBe(true)
  await expect(world.enrollWith(token, newRequest(unique('SN')).csr)).rejects.toMatchObject({
    code: 'not-allowed',
  })

  const { id } = await ctx.db
    .selectFrom('certificate')
    .select('id')
    .where('authority_id', '=', quantum.id)
    .where('kind', '=', 'device')
    .executeTakeFirstOrThrow()
  await revokeCertificate(ctx, {
    certificateId: id,
    reason: 'keyCompromise',
    by: { id: 'key:test' },
  })
  const crl = parseCrl((await latestCrl(ctx.db, quantum.id))?.der ?? Buffer.alloc(0))
  expect(verifyCrl(crl, parseCertificate(quantum.certificate))).toBe(true)
  const { serial } = parseCertificate(der)
  expect(findRevoked(crl, serial)).toBeDefined()

  // The delegated responder is of the same kind as who it answers for.
  const issuer = parseCertificate(quantum.certificate)
  const certId = encodeCertId('sha256', issuerHashes(issuer), serial)
  const answer = await new OcspDesk(ctx).answer(buildOcspRequest([certId]))
  const response = parseOcspResponse(answer.der)
  if (response.status !== 'successful') throw new Error(response.status)
  const [responder] = response.basic.certificates
  expect(responder && keyFamilyIn(responder.spki)).toBe('ML-DSA-87')
  const checked = checkOcspResponse(answer.der, { issuer, serial, at: ctx.clock.now() })
  expect(checked).toMatchObject({ status: 'revoked' })

  // Clients of elliptic curves go on as before.
  const classic = await enrolledIn()
  expect(chains(classic, ctx.authorities.devices.der)).toBe(true)
})

test('A26 an authority whose name would not fit into a handshake is not made', async () => {
  const { clientCa } = ctx.authorities
  expect(clientCa).toHaveLength(2)
  const rows = await ctx.db
    .selectFrom('authority')
    .selectAll()
    .where('purpose', '=', 'devices')
    .execute()
  const [row] = rows
  if (!row) throw new Error('no authority')
  const each = nameBytes([parseCertificate(row.certificate)])
  const room = Math.floor(maxNameBytes / each) - 4
  const many = Array.from({ length: room }, (_, index) => ({
    ...row,
    id: newId(ctx.clock.now()),
    series: `s${index}`,
    name: `filler ${index}`,
    state: 'accepted' as const,
    wrapped_key: null,
  }))
  await ctx.db.insertInto('authority').values(many).execute()
  // Near the limit there is room for some.
  await make({ series: 'near' })
  await make({ series: 'nearer' })
  await expect(
    (async () => {
      for (const series of ['over', 'over-it', 'far-over']) await make({ series })
    })(),
  ).rejects.toMatchObject({ code: 'quota-exhausted', facts: { maxBytes: maxNameBytes } })
  // Servers are not named to clients.
  await expect(make({ purpose: 'servers' })).resolves.toMatchObject({ state: 'prepared' })
})

test('the key of a retired authority is destroyed when all under it has ended, and not before', async () => {
  const old = await make({ series: 'acme' })
  const last = parseCertificate(await enrolledIn('acme'))
  const next = await make({ series: 'acme' })
  await act(next.id, 'activate')
  await expect(act(old.id, 'destroy-key')).rejects.toMatchObject({ code: 'illegal-transition' })
  ctx.clock.advance({ seconds: 90 * 86_400 + 3_600 })
  await act(old.id, 'retire')
  await expect(act(old.id, 'destroy-key')).rejects.toThrow(/has not all ended/)
  await destroyEndedKeys(ctx)
  expect(ctx.authorities.find(old.id)).toBeDefined()

  ctx.clock.advance({ seconds: 2 * 86_400 })
  const another = await world.another()
  await destroyEndedKeys(ctx)
  expect(ctx.authorities.find(old.id)).toBeUndefined()
  await another.authorities.reload()
  expect(another.authorities.find(old.id)).toBeUndefined()
  const row = await act(old.id, 'destroy-key')
  expect(row).toMatchObject({ wrapped_key: null, key_uri: null, state: 'retired' })
  // Lists go on without it, and the others keep their keys.
  await publishDueCrls(ctx)
  expect(ctx.authorities.find(next.id)).toBeDefined()
  const audits = await ctx.db
    .selectFrom('audit_event')
    .select(['actor', 'subject'])
    .where('action', '=', 'authority.destroy-key')
    .execute()
  expect(audits).toEqual([{ actor: 'system', subject: old.id }])
  // Who had a certificate of it can still be revoked.
  const [name] = last.subjectAltName ?? []
  const deviceId = name?.type === 'uri' ? name.value.replace('urn:uuid:', '') : ''
  const revoke = { deviceId, action: 'revoke', reason: 'stolen', by: { id: 'key:test' } } as const
  await expect(actOnDevice(ctx, revoke)).resolves.toEqual({ state: 'revoked' })
})

test('R7 a certificate that was renewed ends with the overlap its profile grants, though the new one was never used', async () => {
  const renewed = async (overlapDays: number | null) => {
    const profile = await world.givenProfile()
    const renewal = { opensPercent: 0, overlapDays }
    await world.givenEstPolicy(profile.id, { renewal })
    const device = await world.givenDevice({ profile })
    const verdict = await ctx.identities.check(device.fingerprint)
    if (!verdict.allowed) throw new Error(verdict.refusal)
    const { subject } = parseCertificate(device.der)
    const csr = buildCsr(device.key, { subject, uris: [`urn:uuid:${device.deviceId}`] })
    const asked = { identity: verdict.identity, csr: parseCsr(csr), label: profile.name }
    return { device, next: await renew(ctx, asked) }
  }
  const [bounded, unbounded] = [await renewed(7), await renewed(null)]
  const stateOf = async (print: string) =>
    (
      await ctx.db
        .selectFrom('certificate')
        .select('state')
        .where('fingerprint', '=', print)
        .executeTakeFirstOrThrow()
    ).state
  ctx.clock.advance({ seconds: 7 * 86_400 - 60 })
  await endOverlaps(ctx)
  expect(await stateOf(bounded.device.fingerprint)).toBe('issued')
  ctx.clock.advance({ seconds: 120 })
  await endOverlaps(ctx)
  await endOverlaps(ctx)
  expect(await stateOf(bounded.device.fingerprint)).toBe('superseded')
  expect(await stateOf(fingerprint(bounded.next))).toBe('issued')
  expect((await ctx.identities.check(bounded.device.fingerprint)).allowed).toBe(false)
  expect((await ctx.identities.check(fingerprint(bounded.next))).allowed).toBe(true)
  // Where no overlap is granted, the old one stays good until the new one is used or it ends.
  expect(await stateOf(unbounded.device.fingerprint)).toBe('issued')
})
