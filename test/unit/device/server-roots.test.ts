import { beforeAll, describe, expect, test } from 'vitest'

import { followRoots } from '../../../device-sim/server-roots.ts'
import { generatePrivateKey } from '../../../pki/keys.ts'
import { encodeName } from '../../../pki/names.ts'
import { fromPem, toPem } from '../../../pki/pem.ts'
import { softwareSigner } from '../../../pki/signer.ts'
import { newSerial, signCertificate } from '../../../pki/x509/issue.ts'
import { parseCertificate } from '../../../pki/x509/parse.ts'
import { buildTbs } from '../../../pki/x509/profiles.ts'
import { crossCertify, keyUpdateOf } from '../../../pki/x509/rollover.ts'
import { type Authority, daysFrom, makeIssuer, now } from '../../support/pki-fixture.ts'

const year = 365

async function rootUntil(commonName: string, notAfter: Date): Promise<Authority> {
  const signer = softwareSigner(generatePrivateKey('P-256'))
  const tbs = buildTbs('root', {
    serial: newSerial(),
    subject: encodeName({ organization: 'Test', commonName }),
    spki: signer.spki,
    notBefore: daysFrom(now, -10),
    notAfter,
    signatureAlgorithm: signer.algorithm,
  })
  return { signer, certificate: parseCertificate(await signCertificate(tbs, signer)) }
}

let first: Authority
let second: Authority
let third: Authority
let stranger: Authority
/** NewWithOld: the second by the first, the third by the second. */
let bridges: [Buffer, Buffer]

beforeAll(async () => {
  first = await rootUntil('One', daysFrom(now, 5 * year))
  second = await rootUntil('Two', daysFrom(now, 10 * year))
  third = await rootUntil('Three', daysFrom(now, 15 * year))
  stranger = await rootUntil('Two', daysFrom(now, 20 * year))
  bridges = [
    (await keyUpdateOf(first, second)).newWithOld,
    (await keyUpdateOf(second, third)).newWithOld,
  ]
})

const der = (...roots: Authority[]) => roots.map(({ certificate }) => certificate.der)
const pem = (...roots: Authority[]) =>
  der(...roots)
    .map((one) => toPem('CERTIFICATE', one))
    .join('')
const follow = (from: Authority[], given: Buffer[], at = now) =>
  fromPem(followRoots(pem(...from), given, at), 'CERTIFICATE')

describe('R8, E23 roots that a device trusts', () => {
  test('one that the trusted root certified joins it, in whatever order they come', () => {
    const [bridge] = bridges
    expect(follow([first], [bridge, ...der(first, second)])).toEqual(der(first, second))
    expect(follow([first], [...der(second, first), bridge])).toEqual(der(first, second))
    expect(follow([first, second], [bridge, ...der(first, second)])).toEqual(der(first, second))
  })

  test('and the one that this one certified', () => {
    expect(follow([first], [...bridges, ...der(third, second)])).toEqual(der(first, second, third))
    // Not over one that is missing.
    expect(follow([first], [...bridges, ...der(third)])).toEqual(der(first))
  })

  test('the old one is kept until its end, and never the last', () => {
    const given = [...bridges, ...der(second, third)]
    const after = daysFrom(now, 6 * year)
    expect(follow([first, second], given, after)).toEqual(der(second, third))
    expect(follow([first], [], after)).toEqual(der(first))
    // What had ended leads nowhere.
    expect(follow([first], given, after)).toEqual(der(first))
  })
})

describe('R8, E23 roots that a device does not trust', () => {
  test('those that are only given, or of the same name with another key', async () => {
    const [bridge] = bridges
    expect(follow([first], der(second, stranger))).toEqual(der(first))
    expect(follow([first], [bridge, ...der(stranger)])).toEqual(der(first))
    const foreign = await crossCertify(second.certificate, stranger)
    expect(follow([first], [foreign, ...der(second)])).toEqual(der(first))
  })

  test('an issuer below the trusted root that signs itself a root with its own key', async () => {
    const stolen = await makeIssuer(first)
    const own = buildTbs('root', {
      serial: newSerial(),
      subject: stolen.certificate.subject,
      spki: stolen.certificate.spki,
      notBefore: daysFrom(now, -1),
      notAfter: daysFrom(now, 20 * year),
      signatureAlgorithm: stolen.signer.algorithm,
    })
    const root = await signCertificate(own, stolen.signer)
    expect(follow([first], [stolen.certificate.der, root])).toEqual(der(first))
  })

  test('a bridge that is not signed by the trusted key, an issuer, and one that ends earlier', async () => {
    const [bridge] = bridges
    const damaged = Buffer.from(bridge)
    damaged[damaged.length - 1] = (damaged.at(-1) ?? 0) ^ 1
    expect(follow([first], [damaged, ...der(second)])).toEqual(der(first))
    const issuer = await makeIssuer(first)
    expect(follow([first], [issuer.certificate.der])).toEqual(der(first))
    const backwards = await crossCertify(first.certificate, second)
    expect(follow([second], [backwards, ...der(first)])).toEqual(der(second))
  })
})
