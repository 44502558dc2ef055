import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer } from 'node:tls'

import { expect, test } from 'vitest'

import { generatePrivateKey, spkiOf } from '../../../pki/keys.ts'
import { encodeName } from '../../../pki/names.ts'
import { toPem } from '../../../pki/pem.ts'
import { parseCertificate } from '../../../pki/x509/parse.ts'
import { publicUrls } from '../../../server/authorities/authorities.ts'
import { makeHierarchy } from '../../../server/authorities/hierarchy.ts'
import { maxNameBytes, nameBytes } from '../../../server/authorities/name-budget.ts'
import type { AuthorityRow } from '../../../server/authorities/store.ts'
import { arrange } from '../../../server/authorities/trust.ts'
import { loadConfig } from '../../../server/config.ts'
import { privatePem } from '../../support/cms-fixture.ts'
import { issue, issuedBy, makeRoot, now, daysFrom, serverInput } from '../../support/pki-fixture.ts'

const root = await makeRoot('P-256')
const key = generatePrivateKey('P-256')
const leaf = await issue('server', root, serverInput(root, spkiOf(key)))

/** Authorities with names of about 80 bytes, until their names take so many bytes. */
async function authoritiesOf(bytes: number): Promise<Buffer[]> {
  const spki = spkiOf(generatePrivateKey('P-256'))
  const made: Buffer[] = []
  for (let sum = 0, index = 0; sum < bytes; index++) {
    const { der, subject } = await issue('issuing', root, {
      ...issuedBy(root),
      subject: encodeName({
        organization: 'Test',
        commonName: `Devices of the customer ${index}`.padEnd(60, '.'),
      }),
      spki,
      notBefore: daysFrom(now, -1),
      notAfter: daysFrom(now, 1000),
    })
    sum += 2 + subject.length
    made.push(der)
  }
  return made
}

/** Whether a client that shows no certificate gets through a handshake with a server that asks for one of these. */
async function shakesHands(authorities: readonly Buffer[], version: 'TLSv1.2' | 'TLSv1.3') {
  const server = createServer({
    key: privatePem(key),
    cert: toPem('CERTIFICATE', leaf.der),
    ca: authorities.map((der) => toPem('CERTIFICATE', der)),
    requestCert: true,
    rejectUnauthorized: false,
    minVersion: version,
    maxVersion: version,
  }).listen(0, '127.0.0.1')
  server.on('tlsClientError', () => {})
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const client = connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
  const outcome = await new Promise<boolean>((resolve) => {
    client.once('secureConnect', () => resolve(true))
    client.once('error', () => resolve(false))
    client.once('close', () => resolve(false))
  })
  client.destroy()
  server.close()
  return outcome
}

test('A26 near the limit that we keep every handshake works, over the one of TLS none does', async () => {
  const near = await authoritiesOf(maxNameBytes - 100)
  expect(nameBytes(near.map(parseCertificate))).toBeGreaterThan(maxNameBytes - 200)
  const over = [...near, ...(await authoritiesOf(65_600 - maxNameBytes + 200))]
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    expect(await shakesHands(near, version)).toBe(true)
    expect(await shakesHands(over, version)).toBe(false)
  }
})

test('A26 a server whose authorities are too many refuses to start and says what to do', async () => {
  const kek = randomBytes(32)
  const rows = await makeHierarchy({
    kek,
    now,
    urls: publicUrls('localhost', 8080),
    config: loadConfig({}),
  })
  const open = ({ id, certificate }: AuthorityRow) => ({
    id,
    der: certificate,
    certificate: parseCertificate(certificate),
    signer: root.signer,
  })
  expect(arrange(rows, [], open).clientCa).toHaveLength(2)
  const [, devices] = rows
  if (!devices) throw new Error('no issuer of devices')
  const filler = (await authoritiesOf(maxNameBytes - 60)).map((certificate, index) => ({
    ...devices,
    id: createHash('sha256').update(`${index}`).digest('hex').slice(0, 32),
    state: 'accepted' as const,
    series: `s${index}`,
    certificate,
  }))
  expect(() => arrange([...rows, ...filler], [], open)).toThrow(/retire some/)
  // Retired ones are named to nobody.
  const retired = filler.map((row) => ({ ...row, state: 'retired' as const }))
  expect(arrange([...rows, ...retired], [], open).clientCa).toHaveLength(2)
})
