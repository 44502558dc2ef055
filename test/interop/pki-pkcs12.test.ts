import { createPrivateKey } from 'node:crypto'
import { once } from 'node:events'
import { createServer, get } from 'node:https'
import type { AddressInfo } from 'node:net'
import { createSecureContext } from 'node:tls'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { encryptPrivateKey } from '../../pki/encrypted-key.ts'
import type { KeyAlgorithm } from '../../pki/keys.ts'
import { generatePrivateKey, spkiOf } from '../../pki/keys.ts'
import { fromPem, toPem } from '../../pki/pem.ts'
import { buildPkcs12 } from '../../pki/pkcs12/build.ts'
import { openssl, opensslAccepts, opensslVersion, scratchDirectory } from '../support/openssl.ts'
import type { Authority } from '../support/pki-fixture.ts'
import { daysFrom, issue, makeIssuer, makeRoot, serverInput } from '../support/pki-fixture.ts'

const title = opensslVersion ?? 'openssl is missing on this machine'
const judge = test.skipIf(!opensslVersion)
const files = scratchDirectory()
const passphrase = 'kettle-Harbor-47'
let root: Authority
let issuer: Authority

test(`the judge is ${title}`, ({ skip }) => {
  if (!opensslVersion) skip(title)
})
beforeAll(async () => {
  root = await makeRoot()
  issuer = await makeIssuer(root)
})
afterAll(() => files[Symbol.dispose]())

async function bundle(algorithm: KeyAlgorithm) {
  const privateKey = generatePrivateKey(algorithm)
  // TLS knows no other time than the machine's.
  const validity = { notBefore: daysFrom(new Date(), -1), notAfter: daysFrom(new Date(), 1) }
  const input = { ...serverInput(issuer, spkiOf(privateKey)), ...validity }
  const { der } = await issue('server', issuer, input)
  const chain = [issuer.certificate.der]
  const pfx = await buildPkcs12({
    privateKey,
    certificate: der,
    chain,
    passphrase,
    friendlyName: 'Pump 7',
  })
  return { privateKey, certificate: der, pfx }
}

judge.each<KeyAlgorithm>(['P-256', 'P-384', 'RSA-2048'])(
  'openssl reads a PKCS #12 file with a %s key, and not with another passphrase',
  async (algorithm) => {
    const { privateKey, certificate, pfx } = await bundle(algorithm)
    const read = ['pkcs12', '-in', files.write('device.p12', pfx), '-nodes', '-passin']
    const text = openssl(...read, `pass:${passphrase}`).toString()
    expect(fromPem(text, 'CERTIFICATE')).toEqual([certificate, issuer.certificate.der])
    const [key = Buffer.alloc(0)] = fromPem(text, 'PRIVATE KEY')
    const read8 = createPrivateKey({ key, format: 'der', type: 'pkcs8' })
    expect(read8.equals(privateKey)).toBe(true)
    expect(text).toContain('friendlyName: Pump 7')
    expect(opensslAccepts(...read, 'pass:kettle-Harbor-48')).toBe(false)
    const info = openssl(...read, `pass:${passphrase}`, '-info', '-noout', '-nomacver')
    expect(info).toBeDefined()
  },
)

test.each<KeyAlgorithm>(['P-256', 'RSA-2048', 'ML-DSA-44'])(
  'Node serves HTTPS from a PKCS #12 file with a %s key',
  async (algorithm) => {
    const { pfx } = await bundle(algorithm)
    expect(() => createSecureContext({ pfx, passphrase: 'wrong' })).toThrow('mac verify failure')
    const server = createServer({ pfx, passphrase }, (_, res) => res.end('served'))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    try {
      const { port } = server.address() as AddressInfo
      const ca = toPem('CERTIFICATE', root.certificate.der)
      // The chain in the file is what lets a client that knows only the root accept it.
      const request = get({ host: '127.0.0.1', port, ca, agent: false, servername: 'localhost' })
      const [response] = (await once(request, 'response')) as [AsyncIterable<Buffer>]
      const chunks: Buffer[] = []
      for await (const chunk of response) chunks.push(chunk)
      expect(Buffer.concat(chunks).toString()).toBe('served')
    } finally {
      server.close()
    }
  },
)

judge('K5 openssl opens a key that is encrypted here', async () => {
  const key = generatePrivateKey('P-256')
  const der = await encryptPrivateKey(key, passphrase)
  const file = files.write('key.p8', toPem('ENCRYPTED PRIVATE KEY', der))
  const open = ['pkey', '-in', file, '-pubout', '-outform', 'DER', '-passin']
  expect(openssl(...open, `pass:${passphrase}`)).toEqual(spkiOf(key))
  expect(opensslAccepts(...open, 'pass:other')).toBe(false)
})
