import { createPrivateKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { certsOnly, readCertsOnly } from '../../pki/cms/certs-only.ts'
import { buildCrl, signCrl } from '../../pki/crl/build.ts'
import { findRevoked, parseCrl, verifyCrl } from '../../pki/crl/parse.ts'
import { buildCsr } from '../../pki/csr/build.ts'
import { parseCsr } from '../../pki/csr/parse.ts'
import type { KeyAlgorithm } from '../../pki/keys.ts'
import { generatePrivateKey, spkiOf } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { validatePath } from '../../pki/path-validate.ts'
import { fromPem, toPem } from '../../pki/pem.ts'
import type { Certificate } from '../../pki/x509/parse.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { openssl, opensslAccepts, opensslVersion, scratchDirectory } from '../support/openssl.ts'
import type { Authority } from '../support/pki-fixture.ts'
import {
  crlUrl,
  daysFrom,
  deviceId,
  deviceInput,
  issue,
  makeIssuer,
  makeRoot,
  now,
  serverInput,
} from '../support/pki-fixture.ts'

const title = opensslVersion ?? 'openssl is missing on this machine'
const hasMlDsa = Number(opensslVersion?.match(/^OpenSSL (\d+\.\d+)/)?.[1] ?? 0) >= 3.5
const atNow = ['-attime', String(now.getTime() / 1000)]

test(`the judge is ${title}`, ({ skip }) => {
  if (!opensslVersion) skip(title)
})

const judge = test.skipIf(!opensslVersion)
const files = scratchDirectory()
let root: Authority
let issuer: Authority
let rootFile: string
let issuerFile: string

beforeAll(async () => {
  if (!opensslVersion) return
  root = await makeRoot()
  issuer = await makeIssuer(root)
  rootFile = files.write('root.pem', toPem('CERTIFICATE', root.certificate.der))
  issuerFile = files.write('issuer.pem', toPem('CERTIFICATE', issuer.certificate.der))
})
afterAll(() => files[Symbol.dispose]())

function verifies(certificate: Certificate, purpose: string, ...more: string[]): boolean {
  const file = files.write('leaf.pem', toPem('CERTIFICATE', certificate.der))
  const strict = ['verify', '-x509_strict', '-check_ss_sig', ...atNow, '-purpose', purpose]
  return opensslAccepts(...strict, '-CAfile', rootFile, '-untrusted', issuerFile, ...more, file)
}

judge.each<KeyAlgorithm>(['P-256', 'P-384', 'Ed25519', 'RSA-2048', 'RSA-3072'])(
  'P7 a device certificate for a %s key passes -x509_strict, for its purpose only',
  async (algorithm) => {
    const spki = spkiOf(generatePrivateKey(algorithm))
    const device = await issue('device', issuer, deviceInput(issuer, spki))
    expect(verifies(device, 'sslclient')).toBe(true)
    expect(verifies(device, 'sslserver')).toBe(false)
  },
)

judge('P7 a server certificate passes with its host and address', async () => {
  const spki = spkiOf(generatePrivateKey('P-256'))
  const server = await issue('server', issuer, serverInput(issuer, spki))
  expect(verifies(server, 'sslserver', '-verify_hostname', 'localhost')).toBe(true)
  expect(verifies(server, 'sslserver', '-verify_ip', '127.0.0.1')).toBe(true)
  expect(verifies(server, 'sslserver', '-verify_hostname', 'example.com')).toBe(false)
  expect(verifies(server, 'sslclient')).toBe(false)
})

judge('P7 root and issuer pass as CAs, and an empty subject passes', async () => {
  expect(verifies(issuer.certificate, 'crlsign')).toBe(true)
  const spki = spkiOf(generatePrivateKey('P-256'))
  const input = { ...deviceInput(issuer, spki), subject: encodeName({}) }
  expect(verifies(await issue('device', issuer, input), 'sslclient')).toBe(true)
})

judge('P11 URN identity under a directoryName constraint', async () => {
  const organization = encodeName({ organization: 'Test' })
  const tenant = await makeIssuer(root, { permittedNames: [organization] })
  const tenantFile = files.write('tenant.pem', toPem('CERTIFICATE', tenant.certificate.der))
  const spki = spkiOf(generatePrivateKey('P-256'))
  const inside = await issue('device', tenant, deviceInput(tenant, spki))
  const subject = encodeName({ organization: 'Other' })
  const outside = await issue('device', tenant, { ...deviceInput(tenant, spki), subject })
  expect(verifies(inside, 'sslclient', '-untrusted', tenantFile)).toBe(true)
  expect(verifies(outside, 'sslclient', '-untrusted', tenantFile)).toBe(false)
})

test.skipIf(!hasMlDsa)('P12 an ML-DSA hierarchy (needs OpenSSL 3.5)', async () => {
  const pqRoot = await makeRoot('ML-DSA-87')
  const pqIssuer = await makeIssuer(pqRoot, {}, 'ML-DSA-65')
  const spki = spkiOf(generatePrivateKey('ML-DSA-44'))
  const device = await issue('device', pqIssuer, deviceInput(pqIssuer, spki))
  const chain = [
    '-CAfile',
    files.write('pq-root.pem', toPem('CERTIFICATE', pqRoot.certificate.der)),
  ]
  chain.push('-untrusted', files.write('pq.pem', toPem('CERTIFICATE', pqIssuer.certificate.der)))
  const leaf = files.write('pq-leaf.pem', toPem('CERTIFICATE', device.der))
  expect(opensslAccepts('verify', '-x509_strict', ...atNow, ...chain, leaf)).toBe(true)
})

judge('V1 V7 a revoked certificate is refused by our CRL and another one passes', async () => {
  const device = async () =>
    await issue('device', issuer, deviceInput(issuer, spkiOf(generatePrivateKey('P-256'))))
  const [revoked, good] = [await device(), await device()]
  const list = async (serials: Buffer[], shard?: { url: string }) => {
    const tbs = buildCrl({
      issuerName: issuer.certificate.subject,
      issuerKeyId: issuer.certificate.subjectKeyId ?? Buffer.alloc(0),
      signatureAlgorithm: issuer.signer.algorithm,
      number: 1n,
      thisUpdate: daysFrom(now, -1),
      nextUpdate: daysFrom(now, 7),
      revoked: serials.map((serial) => ({ serial, revokedAt: daysFrom(now, -1), reason: 1 })),
      shard,
    })
    const pem = toPem('X509 CRL', await signCrl(tbs, issuer.signer))
    return files.write('list.crl', pem)
  }
  const check = async (certificate: Certificate, file: string) =>
    verifies(certificate, 'sslclient', '-crl_check', '-CRLfile', file)
  for (const shard of [undefined, { url: crlUrl }]) {
    const file = await list([revoked.serial], shard)
    expect(opensslAccepts('crl', '-in', file, '-noout', '-CAfile', issuerFile)).toBe(true)
    expect(await check(revoked, file)).toBe(false)
    expect(await check(good, file)).toBe(true)
    expect(openssl('crl', '-in', file, '-noout', '-text').toString()).toContain('Key Compromise')
  }
  expect(await check(revoked, await list([]))).toBe(true)
  // P9: a shard with another address does not speak for these certificates.
  expect(await check(good, await list([], { url: `${crlUrl}x` }))).toBe(false)
})

judge('E14 our certs-only message is read', async () => {
  const der = certsOnly([root.certificate.der, issuer.certificate.der])
  const file = files.write('certs.p7', der)
  const printed = openssl('pkcs7', '-inform', 'DER', '-in', file, '-print_certs').toString()
  const read = fromPem(printed, 'CERTIFICATE')
  expect(read).toHaveLength(2)
  expect(read).toEqual(readCertsOnly(der))
})

judge('E14 a certs-only message of openssl is read', () => {
  const file = ['-certfile', rootFile, '-certfile', issuerFile]
  const der = openssl('crl2pkcs7', '-nocrl', ...file, '-outform', 'DER')
  expect(readCertsOnly(der)).toHaveLength(2)
  expect(readCertsOnly(der)).toContainEqual(root.certificate.der)
})

judge.each<KeyAlgorithm>(['P-256', 'P-384', 'Ed25519', 'RSA-2048'])(
  'C1 openssl verifies our %s request',
  (algorithm) => {
    const subject = encodeName({ commonName: 'Pump 7' })
    const uris = [`urn:uuid:${deviceId}`]
    const der = buildCsr(generatePrivateKey(algorithm), { subject, uris })
    const file = files.write('request.der', der)
    const text = openssl('req', '-verify', '-inform', 'DER', '-in', file, '-noout', '-text')
    expect(text.toString()).toContain(`URI:urn:uuid:${deviceId}`)
  },
)

judge.each([
  ['EC', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-sha256'], 'P-256'],
  ['EC P-384', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384', '-sha384'], 'P-384'],
  ['Ed25519', ['-newkey', 'ed25519'], 'Ed25519'],
  ['RSA', ['-newkey', 'rsa:2048', '-sha256'], 'RSA-2048'],
])('C1 an %s request of openssl is read', (_, keyOptions, algorithm) => {
  const keyFile = join(files.path, 'request.key')
  const request = ['req', '-new', '-nodes', '-keyout', keyFile, '-subj', '/O=Test/CN=Pump 7']
  const names = ['-addext', `subjectAltName=URI:urn:uuid:${deviceId}`]
  const der = openssl(...request, ...keyOptions, ...names, '-outform', 'DER')
  const csr = parseCsr(der)
  expect(csr.publicKey.algorithm).toBe(algorithm)
  expect(csr.subject).toEqual(encodeName({ organization: 'Test', commonName: 'Pump 7' }))
  expect(csr.subjectAltName).toEqual([{ type: 'uri', value: `urn:uuid:${deviceId}` }])
  expect(csr.spki).toEqual(spkiOf(createPrivateKey(readFileSync(keyFile))))
})

judge('C19 a request of openssl without attributes is read', () => {
  const keyFile = join(files.path, 'plain.key')
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256']
  const der = openssl(
    'req',
    '-new',
    '-nodes',
    '-keyout',
    keyFile,
    '-subj',
    '/',
    ...key,
    '-outform',
    'DER',
  )
  expect(parseCsr(der).requestedExtensions.size).toBe(0)
  expect(parseCsr(der).subject).toEqual(encodeName({}))
})

judge('D1 a hierarchy and a CRL of openssl are read and judged by us', () => {
  const made = opensslHierarchy(files)
  const anchors = [parseCertificate(made.ca).der]
  const options = { at: new Date(), purpose: 'clientAuth' } as const
  expect(validatePath([made.leaf], anchors, options).valid).toBe(true)
  expect(validatePath([made.leaf], [root.certificate.der], options).valid).toBe(false)
  const crl = parseCrl(made.crl)
  expect(verifyCrl(crl, parseCertificate(made.ca))).toBe(true)
  expect(findRevoked(crl, parseCertificate(made.leaf).serial)?.reason).toBe(1)
})

/** A CA, a leaf and a CRL that revokes it, all made by openssl. */
function opensslHierarchy(directory: ReturnType<typeof scratchDirectory>) {
  const { path } = directory
  const file = (name: string) => join(path, name)
  const write = (name: string, content: string) => directory.write(name, content)
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-sha256']
  const config = write(
    'ca.cnf',
    [
      '[ca]\ndefault_ca = own\n[own]',
      `database = ${write('index.txt', '')}\nserial = ${write('serial', '1234\n')}`,
      `crlnumber = ${write('crlnumber', '01\n')}\nnew_certs_dir = ${path}\ndefault_md = sha256`,
      'default_crl_days = 7\ncrl_extensions = crl\npolicy = any\n[any]\ncommonName = supplied',
      '[crl]\nauthorityKeyIdentifier = keyid\n[leaf]\nbasicConstraints = critical,CA:FALSE',
      'keyUsage = critical,digitalSignature\nextendedKeyUsage = clientAuth',
      'authorityKeyIdentifier = keyid\nsubjectAltName = URI:urn:x:1\n',
    ].join('\n'),
  )
  const extensions = ['-addext', 'basicConstraints=critical,CA:TRUE']
  extensions.push('-addext', 'keyUsage=critical,keyCertSign,cRLSign')
  const ca = [
    '-keyout',
    file('ca.key'),
    '-out',
    file('ca.pem'),
    '-days',
    '30',
    '-subj',
    '/CN=Their CA',
  ]
  openssl('req', '-x509', ...ec, ...ca, ...extensions)
  openssl(
    'req',
    '-new',
    ...ec,
    '-keyout',
    file('l.key'),
    '-out',
    file('l.csr'),
    '-subj',
    '/CN=leaf',
  )
  const signing = [
    'ca',
    '-config',
    config,
    '-cert',
    file('ca.pem'),
    '-keyfile',
    file('ca.key'),
    '-batch',
  ]
  const days = ['-days', '10', '-notext', '-extensions', 'leaf']
  openssl(...signing, ...days, '-in', file('l.csr'), '-out', file('l.pem'))
  openssl(...signing, '-revoke', file('l.pem'), '-crl_reason', 'keyCompromise')
  openssl(...signing, '-gencrl', '-out', file('l.crl'))
  const read = (name: string, label: string) =>
    fromPem(readFileSync(file(name), 'utf8'), label)[0] ?? Buffer.alloc(0)
  return {
    ca: read('ca.pem', 'CERTIFICATE'),
    leaf: read('l.pem', 'CERTIFICATE'),
    crl: read('l.crl', 'X509 CRL'),
  }
}
