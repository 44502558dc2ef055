import { randomBytes } from 'node:crypto'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { readCertsOnly } from '../../pki/cms/certs-only.ts'
import { fingerprint, parseCertificate } from '../../pki/x509/parse.ts'
import { decideRequest } from '../../server/enrollment/approval.ts'
import { unique } from '../support/identity-world.ts'
import { challengedCsr, scepClient } from '../support/scep-client.ts'
import {
  certificateIn,
  first,
  newParty,
  newTransaction,
  openScepSite,
  operator,
  type ScepSite,
} from '../support/scep-site.ts'

let site: ScepSite
let ctx: ScepSite['ctx']
let scep: ScepSite['scep']
beforeAll(async () => {
  site = await openScepSite()
  ;({ ctx, scep } = site)
})
afterAll(async () => await site[Symbol.asyncDispose]())

describe('what anybody may ask', () => {
  test('capabilities and certificates; only of a profile that speaks SCEP', async () => {
    const caps = await scep.call('?operation=GetCACaps')
    expect([caps.status, caps.contentType]).toEqual([200, 'text/plain'])
    expect(caps.body.toString().split('\n')).toContain('SCEPStandard')
    expect(caps.body.toString()).not.toMatch(/SHA-1\b|DES/)
    const chain = await scep.call('/pkiclient.exe?operation=GetCACert&message=x')
    expect(chain.contentType).toBe('application/x-x509-ca-ra-cert')
    const certificates = readCertsOnly(chain.body)
    const { devices, root } = ctx.authorities
    for (const der of [devices.der, root.der]) expect(certificates).toContainEqual(der)
    expect(certificates).toHaveLength(3)
    expect(certificates).toContainEqual(await scep.ra())

    const silent = await site.world.givenProfile()
    for (const name of [silent.name, 'no-such-line', '%00', '..']) {
      const answer = await scepClient(site.server, name).call('?operation=GetCACert')
      expect([name, answer.status]).toEqual([name, 404])
    }
  })

  test('S1, A22 unknown operations and methods', async () => {
    for (const query of ['', '?operation=', '?operation=getcacert', '?operation=GetCACert2']) {
      expect((await scep.call(query)).status).toBe(400)
    }
    expect((await scep.call('?operation=GetNextCACert')).status).toBe(404)
    expect((await scep.call('?operation=GetCACert', Buffer.from('x'))).status).toBe(405)
    expect((await scep.call('?operation=PKIOperation&message=!!')).status).toBe(400)
    expect((await scep.call('?operation=PKIOperation', Buffer.alloc(131_073))).status).toBe(413)
    expect((await scep.call('?operation=PKIOperation', randomBytes(500))).status).toBe(400)
  })
})

describe('PKCSReq', () => {
  test.each(['POST', 'GET'] as const)('by %s makes a device', async (method) => {
    const serialNumber = unique('PUMP')
    const own = await newParty()
    const challenge = await site.givenChallenge(serialNumber)
    const csr = challengedCsr(own, { commonName: serialNumber, challenge })
    const transactionId = newTransaction()
    const der = certificateIn(
      await scep.ask({ question: first(csr), party: own, transactionId, method }),
    )
    expect(parseCertificate(der).spki).toEqual(own.spki)
    // Answers are encrypted to its key.
    expect([...(parseCertificate(der).keyUsage ?? [])]).toEqual([
      'digitalSignature',
      'keyEncipherment',
    ])
    expect((await ctx.identities.check(fingerprint(der))).allowed).toBe(true)
  })

  test('the same request again gets the same certificate, and another one nothing', async () => {
    const { certificate, question, own, serialNumber, challenge } = await site.givenDevice()
    expect(certificateIn(await scep.ask(question))).toEqual(certificate)
    const thief = await newParty()
    const csr = challengedCsr(thief, { commonName: serialNumber, challenge })
    const stolen = { question: first(csr), party: thief, transactionId: newTransaction() }
    expect(await scep.ask(stolen)).toMatchObject({ status: 'failure', failure: 'badRequest' })
    const other = challengedCsr(own, { commonName: `${serialNumber}x`, challenge })
    expect(await scep.ask({ ...question, question: first(other) })).toMatchObject({
      status: 'failure',
      text: 'This challenge is for another device',
    })
  })
})

describe('a challenge', () => {
  test('is refused when it is missing, wrong, expired, ended or of another profile', async () => {
    const pump = await newParty()
    const elsewhere = await site.givenLine()
    const commonName = unique('PUMP')
    const foreign = await site.givenChallenge(commonName, { profileId: elsewhere.line.id })
    const expired = await site.givenChallenge(commonName, { minutes: 1 })
    ctx.clock.advance({ seconds: 61 })
    const token = await site.world.givenToken(site.line.id)
    for (const challenge of [
      undefined,
      '',
      'x'.repeat(32),
      'a'.repeat(32),
      foreign,
      expired,
      token,
    ]) {
      const csr = challengedCsr(pump, {
        commonName,
        ...(challenge === undefined ? {} : { challenge }),
      })
      const transactionId = newTransaction()
      const outcome = await scep.ask({ question: first(csr), party: pump, transactionId })
      expect(outcome, challenge).toMatchObject({ status: 'failure', failure: 'badRequest' })
    }
  })
})

describe('a challenge that is guessed', () => {
  test('wrong challenges are limited by address and profile', async () => {
    const pump = await newParty()
    const { scep: limited } = await site.givenLine()
    const csr = challengedCsr(pump, { commonName: 'x', challenge: 'a'.repeat(32) })
    const wrong = async () =>
      await limited.ask({ question: first(csr), party: pump, transactionId: newTransaction() })
    for (let n = 0; n < 20; n += 1) expect((await wrong()).status).toBe('failure')
    await expect(wrong()).rejects.toThrow('429')
    ctx.clock.advance({ seconds: 61 })
    expect((await wrong()).status).toBe('failure')
  })

  test('whoever guesses at an address locks out no device behind it that has a right challenge', async () => {
    const pump = await newParty()
    const { line, scep: limited } = await site.givenLine()
    const ask = async (commonName: string, challenge: string) => {
      const question = first(challengedCsr(pump, { commonName, challenge }))
      return await limited.ask({ question, party: pump, transactionId: newTransaction() })
    }
    for (let n = 0; n < 20; n += 1) await ask('x', 'a'.repeat(32))
    await expect(ask('x', 'a'.repeat(32))).rejects.toThrow('429')
    const commonName = unique('PUMP')
    const challenge = await site.givenChallenge(commonName, { profileId: line.id })
    // The challenge of another device is still no way in.
    expect((await ask(unique('PUMP'), challenge)).status).toBe('failure')
    expect((await ask(commonName, challenge)).status).toBe('success')
    await expect(ask('x', 'b'.repeat(32))).rejects.toThrow('429')
  })
})

describe('a challenge of a careful line', () => {
  test('waits where somebody has to approve it, and is polled for', async () => {
    const { line: slow, scep: careful } = await site.givenLine({ approval: 'manual' })
    const commonName = unique('PUMP')
    const own = await newParty()
    const challenge = await site.givenChallenge(commonName, { profileId: slow.id })
    const csr = challengedCsr(own, { commonName, challenge })
    const given = { party: own, transactionId: newTransaction() }
    expect(await careful.ask({ ...given, question: first(csr) })).toEqual({ status: 'pending' })
    const { certificate } = ctx.authorities.devices
    const poll = {
      type: 'CertPoll',
      issuer: certificate.subject,
      subject: certificate.subject,
    } as const
    expect(await careful.ask({ ...given, question: poll })).toEqual({ status: 'pending' })
    const eavesdropper = await newParty()
    const peeking = { ...given, party: eavesdropper, question: poll }
    expect(await careful.ask(peeking)).toMatchObject({ status: 'failure', failure: 'badCertId' })

    const { id } = await ctx.db
      .selectFrom('enrollment_request')
      .select('id')
      .where('profile_id', '=', slow.id)
      .executeTakeFirstOrThrow()
    await decideRequest(ctx, { id, action: 'approve', reason: 'seen', by: operator })
    const der = certificateIn(await careful.ask({ ...given, question: poll }))
    expect(parseCertificate(der).spki).toEqual(own.spki)
  })
})
