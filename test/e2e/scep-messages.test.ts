import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { idOfCertificate, readCertificateHead } from '../../pki/cms/certificate-id.ts'
import { buildEnvelopedData } from '../../pki/cms/enveloped-data-build.ts'
import { parseCrl } from '../../pki/crl/parse.ts'
import { buildCsr } from '../../pki/csr/build.ts'
import { printableString } from '../../pki/der/writer.ts'
import { softwareDecrypter } from '../../pki/forge.ts'
import { readCertRep } from '../../pki/scep/reply.ts'
import { fingerprint, parseCertificate } from '../../pki/x509/parse.ts'
import { publishDueCrls } from '../../server/certificates/crl.ts'
import { actOnDevice } from '../../server/incidents/service.ts'
import type { Party } from '../support/cms-fixture.ts'
import { unique } from '../support/identity-world.ts'
import { challengedCsr } from '../support/scep-client.ts'
import {
  makeScepWorld,
  scepAttributes,
  senderNonce,
  transactionId,
} from '../support/scep-fixture.ts'
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

describe('S1 replays', () => {
  test('a message that was sent before, and a transactionID of another key', async () => {
    const { question, own } = await site.givenDevice()
    const bytes = await scep.build({ ...question, senderNonce: Buffer.alloc(16, 7) })
    expect((await scep.call('?operation=PKIOperation', bytes)).status).toBe(200)
    const nonce = { ...question, senderNonce: Buffer.alloc(16, 7) }
    expect(await scep.ask(nonce)).toMatchObject({
      status: 'failure',
      text: 'This message was sent before: use a new senderNonce',
    })
    const serialNumber = unique('PUMP')
    const other = await newParty()
    const challenge = await site.givenChallenge(serialNumber)
    const csr = challengedCsr(other, { commonName: serialNumber, challenge })
    const taken = { question: first(csr), party: other, transactionId: question.transactionId }
    expect(await scep.ask(taken)).toMatchObject({
      status: 'failure',
      text: 'This transactionID belongs to another key',
    })
    // The honest twin: the challenge was not used up by it.
    const fresh = { ...taken, transactionId: newTransaction() }
    expect((await scep.ask(fresh)).status).toBe('success')
    expect(own.key).not.toBe(other.key)
  })
})

describe('RenewalReq, GetCert and GetCRL', () => {
  test('only with the certificate in use', async () => {
    const device = await site.givenDevice()
    const next = await newParty()
    const csr = buildCsr(next.key, { subject: parseCertificate(device.certificate).subject })
    const ask = async (signer: Pick<Party, 'key' | 'certificate'>) =>
      await scep.ask({
        question: { type: 'RenewalReq', csr },
        party: signer,
        transactionId: newTransaction(),
      })
    // Its own key under a certificate that somebody else made.
    expect((await ask(device.own)).status).toBe('failure')
    const stranger = await site.givenDevice()
    expect((await ask(stranger)).status).toBe('failure')
    const renewed = certificateIn(await ask(device))
    expect(parseCertificate(renewed).spki).toEqual(next.spki)
    expect(parseCertificate(renewed).keyUsage).toContain('keyEncipherment')
    // It may be fetched again until the new one is used; a device that was revoked fetches nothing.
    expect(certificateIn(await ask(device))).toEqual(renewed)
    const verdict = await ctx.identities.check(fingerprint(device.certificate))
    const deviceId = verdict.allowed ? verdict.identity.deviceId : ''
    await actOnDevice(ctx, { deviceId, action: 'revoke', reason: 'stolen', by: operator })
    await ctx.identities.sweep()
    expect(await ask(device)).toMatchObject({ status: 'failure', failure: 'badRequest' })
  })

  test('GetCert gives a device its own certificates, GetCRL the list', async () => {
    await publishDueCrls(ctx)
    const pump = await newParty()
    const device = await site.givenDevice()
    const stranger = await site.givenDevice()
    const { issuer, serial } = parseCertificate(device.certificate)
    const query = async (type: 'GetCert' | 'GetCRL', signer: Pick<Party, 'key' | 'certificate'>) =>
      await scep.ask({
        question: { type, issuer, serial },
        party: signer,
        transactionId: newTransaction(),
      })
    expect(certificateIn(await query('GetCert', device))).toEqual(device.certificate)
    expect(await query('GetCert', stranger)).toMatchObject({ failure: 'badCertId' })
    expect((await query('GetCert', pump)).status).toBe('failure')
    const list = await query('GetCRL', device)
    if (!('crl' in list)) throw new Error('There is no CRL')
    expect(parseCrl(list.crl).issuer).toEqual(issuer)
    expect((await query('GetCRL', pump)).status).toBe('failure')
  })
})

describe('messages', () => {
  test('S1 every other type is refused, S2 so is a signature that does not verify', async () => {
    const fixture = await makeScepWorld()
    const post = async (der: Buffer) => await scep.call('?operation=PKIOperation', der)
    for (const type of ['3', '18', '0', '99', '']) {
      const attributes = scepAttributes({ messageType: [printableString(type)] })
      expect([type, (await post(await fixture.raw({ attributes }))).status]).toEqual([type, 400])
    }
    const good = await scep.build((await site.givenDevice()).question)
    const broken = Buffer.from(good)
    broken[broken.length - 1] = (broken.at(-1) ?? 0) ^ 1
    expect((await post(broken)).status).toBe(400)
    expect((await post(good)).status).toBe(200)
  })

  test('S3 an envelope to another key, a damaged one and wrong content fail in one way', async () => {
    const { own, csr } = await site.givenDevice()
    const ra = await scep.ra()
    const recipient = {
      kind: 'certificate',
      id: idOfCertificate(ra),
      spki: readCertificateHead(ra).spki,
    } as const
    const good = buildEnvelopedData(csr, recipient, { cipher: 'aes-128-cbc' })
    const flipped = (at: number) => {
      const copy = Buffer.from(good)
      copy[at] = (copy[at] ?? 0) ^ 1
      return copy
    }
    const fixture = await makeScepWorld()
    const cases = {
      anotherKey: fixture.envelope(csr),
      // Of the encrypted content key, and of the content.
      wrongKey: flipped(good.indexOf(Buffer.from('04820180', 'hex')) + 100),
      wrongContent: flipped(good.length - 1),
      noDer: buildEnvelopedData(Buffer.from('hello'), recipient, { cipher: 'aes-128-cbc' }),
    }
    for (const [name, content] of Object.entries(cases)) {
      const der = await fixture.raw({ content, sender: own })
      const { status, body } = await scep.call('?operation=PKIOperation', der)
      expect([name, status]).toEqual([name, 200])
      const outcome = await readCertRep(body, {
        transactionId,
        senderNonce,
        responderSpki: recipient.spki,
        decrypter: softwareDecrypter(own.key, own.id),
        expects: 'certificates',
      })
      expect([name, outcome]).toEqual([name, { status: 'failure', failure: 'badMessageCheck' }])
    }
  })
})
