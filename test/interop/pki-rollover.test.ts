import { afterAll, expect, test } from 'vitest'

import { writeCaRequest } from '../../pki/ceremony/ca-request.ts'
import { generatePrivateKey, spkiOf } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { toPem } from '../../pki/pem.ts'
import { softwareSigner } from '../../pki/signer.ts'
import { newSerial, signCertificate } from '../../pki/x509/issue.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { buildTbs } from '../../pki/x509/profiles.ts'
import { keyUpdateOf } from '../../pki/x509/rollover.ts'
import { openssl, opensslAccepts, opensslVersion, scratchDirectory } from '../support/openssl.ts'
import type { Authority } from '../support/pki-fixture.ts'
import {
  aiaUrl,
  crlUrl,
  daysFrom,
  deviceInput,
  issue,
  makeIssuer,
  makeRoot,
  now,
} from '../support/pki-fixture.ts'

const judge = test.skipIf(!opensslVersion)
const files = scratchDirectory()
afterAll(() => files[Symbol.dispose]())

test(`the judge is ${opensslVersion ?? 'missing'}`, ({ skip }) => {
  if (!opensslVersion) skip('openssl is missing on this machine')
})

async function laterRoot(commonName: string): Promise<Authority> {
  const signer = softwareSigner(generatePrivateKey('P-384'))
  const tbs = buildTbs('root', {
    serial: newSerial(),
    subject: encodeName({ organization: 'Test', commonName }),
    spki: signer.spki,
    notBefore: daysFrom(now, -1),
    notAfter: daysFrom(now, 24 * 365),
    signatureAlgorithm: signer.algorithm,
  })
  return { signer, certificate: parseCertificate(await signCertificate(tbs, signer)) }
}

const pem = (name: string, ...ders: Buffer[]) =>
  files.write(name, ders.map((der) => toPem('CERTIFICATE', der)).join(''))

judge.each(['Test Root', 'Test Root 2'])(
  'R8 openssl goes over to a root named %s',
  async (name) => {
    const old = await makeRoot()
    const next = await laterRoot(name)
    const { oldWithNew, newWithOld } = await keyUpdateOf(old, next)
    for (const [own, anchor, bridge] of [
      [next, old, newWithOld],
      [old, next, oldWithNew],
    ] as const) {
      const issuer = await makeIssuer(own)
      const spki = spkiOf(generatePrivateKey('P-256'))
      const device = await issue('device', issuer, deviceInput(issuer, spki))
      const leaf = pem('leaf.pem', device.der)
      const accepts = (...untrusted: Buffer[]) => {
        const chain = ['-CAfile', pem('anchor.pem', anchor.certificate.der)]
        chain.push('-untrusted', pem('untrusted.pem', ...untrusted), '-purpose', 'sslclient')
        const strict = ['-x509_strict', '-attime', String(now.getTime() / 1000)]
        return opensslAccepts('verify', ...strict, ...chain, leaf)
      }
      expect(accepts(issuer.certificate.der, bridge)).toBe(true)
      expect(accepts(issuer.certificate.der)).toBe(false)
    }
  },
)

judge('C1 openssl verifies the request of an issuing CA', async () => {
  const signer = softwareSigner(generatePrivateKey('P-256'))
  const organization = encodeName({ organization: 'Test' })
  const subject = encodeName({ organization: 'Test', commonName: 'CA' })
  const input = { subject, crlUrl, aiaUrl, permittedNames: [organization] }
  const file = files.write('ca.csr', await writeCaRequest(signer, input))
  const text = openssl('req', '-verify', '-in', file, '-noout', '-text').toString()
  for (const part of ['CA:TRUE, pathlen:0', crlUrl, aiaUrl, 'DirName:O = Test']) {
    expect(text).toContain(part)
  }
})
