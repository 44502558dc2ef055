import { beforeAll, describe, expect, test } from 'vitest'

import type { Crl } from '../../../pki/crl/parse.ts'
import { parseCrl } from '../../../pki/crl/parse.ts'
import { statusByCrls } from '../../../pki/crl/status.ts'
import { oids } from '../../../pki/der/oids.ts'
import { encodeTime } from '../../../pki/der/time.ts'
import { contextConstructed, integer, sequence } from '../../../pki/der/writer.ts'
import { generatePrivateKey, keyIdentifier, spkiOf } from '../../../pki/keys.ts'
import { encodeName } from '../../../pki/names.ts'
import { validatePath } from '../../../pki/path-validate.ts'
import { softwareSigner } from '../../../pki/signer.ts'
import { encodeAuthorityKeyId, encodeExtension } from '../../../pki/x509/extension-writer.ts'
import { newSerial } from '../../../pki/x509/issue.ts'
import { type Certificate, parseCertificate } from '../../../pki/x509/parse.ts'
import { crlInput, makeCrl } from '../../support/crl-fixture.ts'
import { constraintCases } from '../../support/limbo/constraints.ts'
import { pathCases } from '../../support/limbo/paths.ts'
import { rfc5280Cases } from '../../support/limbo/rfc5280.ts'
import {
  type Authority,
  daysFrom,
  expectRefusal,
  makeRoot,
  now,
  rawTbs,
  signRaw,
} from '../../support/pki-fixture.ts'

const cases = [...rfc5280Cases, ...constraintCases, ...pathCases]

describe('X2 the cases of x509-limbo, made again', () => {
  test.each(cases)('$id', ({ build, expected }) => {
    const { chain, anchors, at = now } = build()
    const ders = (list: readonly { der: Buffer }[]) => list.map(({ der }) => der)
    const verdict = validatePath(ders(chain), ders(anchors), { at, purpose: 'clientAuth' })
    expect(verdict.valid ? 'valid' : verdict.reason).toBe(expected)
  })

  test('all cases of the families, each once', () => {
    const families = Object.groupBy(cases, ({ id }) => id.slice(0, id.indexOf('::')))
    const counts = Object.entries(families).map(([name, list = []]) => [name, list.length])
    expect(Object.fromEntries(counts)).toEqual({
      rfc5280: 102,
      pathlen: 13,
      pathological: 11,
      cve: 3,
    })
    expect(new Set(cases.map(({ id }) => id)).size).toBe(cases.length)
  })
})

describe('X2 the cases of x509-limbo about CRLs', () => {
  let issuer: Authority
  let leaf: Certificate
  const spki = spkiOf(generatePrivateKey('P-256'))

  beforeAll(async () => {
    issuer = await makeRoot('P-256')
    leaf = parseCertificate(await signRaw(rawTbs(issuer, { spki }), issuer))
  })

  const entry = (serial: Buffer) => ({ serial, revokedAt: daysFrom(now, -1), reason: undefined })
  const status = (crl: Crl, by: Certificate = issuer.certificate) =>
    statusByCrls(leaf, by, [crl], { at: now }).status
  const listed = async (by: Authority, serial = leaf.serial) => await makeCrl(by, [entry(serial)])

  /** The issuer with the same name and key and another key usage; undefined leaves it out. */
  async function issuerWith(usage: string | undefined): Promise<Certificate> {
    const ca = encodeExtension(oids.basicConstraints, true, Buffer.from('30030101ff', 'hex'))
    const extensions = [ca]
    if (usage !== undefined) {
      extensions.push(encodeExtension(oids.keyUsage, true, Buffer.from(usage, 'hex')))
    }
    const parts = { subject: issuer.certificate.subject, spki: issuer.signer.spki, extensions }
    return parseCertificate(await signRaw(rawTbs(issuer, parts), issuer))
  }

  /** A CRL without entries and with whatever number extension. */
  async function crlWith(number: Buffer[]): Promise<Buffer> {
    const extensions = [encodeAuthorityKeyId(keyIdentifier(issuer.signer.spki)), ...number]
    const tbs = sequence(
      integer(1),
      issuer.signer.algorithm,
      issuer.certificate.subject,
      encodeTime(now),
      encodeTime(daysFrom(now, 7)),
      contextConstructed(0, sequence(...extensions)),
    )
    return await signRaw(tbs, issuer)
  }
  const number = (critical: boolean) => encodeExtension(oids.cRLNumber, critical, integer(7))

  test('crl::revoked-certificate-with-crl, crl::certificate-not-on-crl', async () => {
    expect(status(await listed(issuer))).toBe('revoked')
    expect(status(await listed(issuer, newSerial()))).toBe('good')
  })

  test('crl::crlnumber-missing, crl::crlnumber-critical', async () => {
    expect(status(parseCrl(await crlWith([number(false)])))).toBe('good')
    for (const wrong of [[], [number(true)]]) {
      const der = await crlWith(wrong)
      expectRefusal(() => parseCrl(der), 'crl')
    }
  })

  test('crl::certificate-serial-on-crl-different-issuer: such a list says nothing', async () => {
    const signer = softwareSigner(generatePrivateKey('P-256'))
    const subject = encodeName({ commonName: 'Another' })
    const other = { ...issuer, signer, certificate: { ...issuer.certificate, subject } }
    const crl = await makeCrl(other, [entry(leaf.serial)])
    // Limbo lets the certificate pass; here nothing but a list of the issuer makes it good.
    expect(status(crl)).toBe('unknown')
    const own = await makeCrl(issuer, [])
    expect(statusByCrls(leaf, issuer.certificate, [crl, own], { at: now }).status).toBe('good')
  })

  test('crl::issuer-missing-crlsign, crl::issuer-no-keyusage-extension, crl::issuer-valid-crlsign-and-keycertsign', async () => {
    const crl = parseCrl(await crlWith([number(false)]))
    expect(status(crl, await issuerWith('03020106'))).toBe('good')
    expect(status(crl, await issuerWith('03020204'))).toBe('unknown')
    // Stricter than limbo and RFC 5280 §6.3.3 (f): an issuer that says nothing of CRLs makes none.
    expect(status(crl, await issuerWith(undefined))).toBe('unknown')
    expect(crlInput(issuer, []).issuerName).toEqual(crl.issuer)
  })
})
