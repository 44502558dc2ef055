import type { ChildProcess } from 'node:child_process'
import { spawn, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { IncomingMessage, Server } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { idOfCertificate, readCertificateHead } from '../../pki/cms/certificate-id.ts'
import { readCertsOnly } from '../../pki/cms/certs-only.ts'
import { verifySignedData } from '../../pki/cms/signed-data.ts'
import type { Csr } from '../../pki/csr/parse.ts'
import { parseCsr } from '../../pki/csr/parse.ts'
import { oids } from '../../pki/der/oids.ts'
import { contextConstructed, utf8String } from '../../pki/der/writer.ts'
import { softwareDecrypter } from '../../pki/forge.ts'
import { generatePrivateKey, spkiOf } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { fromPem, toPem } from '../../pki/pem.ts'
import { buildCertRep, readCertRep, scepFailureOf } from '../../pki/scep/reply.ts'
import { buildScepRequest } from '../../pki/scep/request-build.ts'
import { openScepRequest, verifyScepMessage } from '../../pki/scep/request.ts'
import {
  caCapabilities,
  caCertificates,
  decodeGetMessage,
  readScepOperation,
} from '../../pki/scep/wire.ts'
import { softwareSigner } from '../../pki/signer.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import type { Party } from '../support/cms-fixture.ts'
import { makeParty, privatePem } from '../support/cms-fixture.ts'
import { openssl, scratchDirectory } from '../support/openssl.ts'
import type { Authority } from '../support/pki-fixture.ts'
import { attribute, deviceInput, issue, makeRoot, rawCsr } from '../support/pki-fixture.ts'

/*
 * Debian's package `scep`: a client and a server written in Go by others. Both sign with SHA-1 and encrypt with single DES,
 * whatever capabilities they are told, but read what this library writes. DES is never accepted, so openssl
 * opens their envelopes here and everything else is judged for real.
 */
const isInstalled = !spawnSync('scepclient', ['-version']).error
const old = { allowSha1: true }
const judge = test.skipIf(!isInstalled)
const files = scratchDirectory()
let root: Authority
let ra: Party
let server: Server
let foreign: ChildProcess | undefined
const requests: Csr[] = []

test('the client is installed', ({ skip }) => {
  if (!isInstalled) skip('scepclient is missing on this machine: package scep')
})

beforeAll(async () => {
  root = await makeRoot()
  ra = await makeParty(root, 'RSA-2048')
  server = createServer((req, res) => {
    answer(req).then(
      ({ contentType, body }) => res.writeHead(200, { 'Content-Type': contentType }).end(body),
      (error: unknown) => res.writeHead(500).end(String(error)),
    )
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
})
afterAll(() => {
  foreign?.kill()
  server.close()
  files[Symbol.dispose]()
})

async function answer(req: IncomingMessage): Promise<{ contentType: string; body: Buffer }> {
  const { searchParams } = new URL(req.url ?? '', 'http://localhost')
  switch (readScepOperation(searchParams.get('operation') ?? undefined)) {
    case 'GetCACaps':
      return caCapabilities({ hasNextCa: false })
    case 'GetCACert':
      return caCertificates([ra.certificate, root.certificate.der])
    case 'GetNextCACert':
      throw new Error('Not offered')
    case 'PKIOperation': {
      const chunks: Buffer[] = await req.toArray()
      const der =
        req.method === 'POST'
          ? Buffer.concat(chunks)
          : decodeGetMessage(searchParams.get('message') ?? '')
      const message = verifyScepMessage(der, old)
      const failure = { status: 'failure', failure: 'badMessageCheck' } as const
      const opening = openScepRequest(message, softwareDecrypter(ra.key, ra.id))
      const refused = await opening.then(() => undefined, scepFailureOf)
      expect(refused).toBe('badMessageCheck')
      const csr = parseCsr(openDes(message.envelope, ra))
      requests.push(csr)
      const isRight = csr.challengePassword === 'one-time' && csr.spki.equals(message.signer.spki)
      const success = { status: 'success', certificates: [await certify(csr.spki)] } as const
      const request = { ...message, cipher: 'aes-128-cbc' } as const
      const body = await buildCertRep(request, isRight ? success : failure, ra)
      return { contentType: 'application/x-pki-message', body }
    }
    default:
      throw new Error('Unknown operation')
  }
}

function openDes(
  envelope: Buffer,
  { certificate, key }: Pick<Party, 'certificate' | 'key'>,
): Buffer {
  const legacy = ['-provider', 'legacy', '-provider', 'default']
  const recipient = files.write('recipient.pem', toPem('CERTIFICATE', certificate))
  const keyFile = files.write('recipient.key', privatePem(key))
  const message = files.write('envelope.der', envelope)
  const decrypt = ['cms', '-decrypt', '-binary', '-inform', 'DER', '-in', message, ...legacy]
  return openssl(...decrypt, '-recip', recipient, '-inkey', keyFile)
}

async function certify(spki: Buffer): Promise<Buffer> {
  const { der } = await issue('device', root, deviceInput(root, spki))
  return der
}

async function scepclient(
  directory: string,
  challenge: string,
): Promise<{ code: number | null; output: string }> {
  const { port } = server.address() as AddressInfo
  const fingerprint = createHash('sha256').update(ra.certificate).digest('hex')
  const keys = ['-private-key', join(directory, 'client.key')]
  const url = ['-server-url', `http://127.0.0.1:${port}/scep`, '-ca-fingerprint', fingerprint]
  const args = [...url, ...keys, '-certificate', join(directory, 'client.pem')]
  const child = spawn('scepclient', [...args, '-challenge', challenge, '-cn', 'Pump 7'])
  const chunks: Buffer[] = []
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  }
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, output: Buffer.concat(chunks).toString() }
}

judge('S1 a foreign client enrolls, with its challenge in the request', async () => {
  expect((await scepclient(files.path, 'one-time')).code).toBe(0)
  const csr = requests.at(-1)
  expect(csr?.challengePassword).toBe('one-time')
  const [issued] = fromPem(readFileSync(join(files.path, 'client.pem'), 'utf8'), 'CERTIFICATE')
  expect(issued && parseCertificate(issued).spki).toEqual(csr?.spki)
})

judge('S1 a foreign client understands a refusal', async () => {
  using other = scratchDirectory()
  const { code, output } = await scepclient(other.path, 'guessed')
  expect(code).not.toBe(0)
  expect(output).toContain('failInfo: badMessageCheck')
})

/** A free port, for a server that cannot be asked to pick one. */
async function freePort(): Promise<number> {
  const probe = createTcpServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}

async function whenUp(url: string): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    try {
      await fetch(url)
      return
    } catch (error) {
      if (tries > 100) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

judge('S2 a foreign server reads our request and we read its answer', async () => {
  const depot = join(files.path, 'depot')
  spawnSync('scepserver', ['ca', '-init', '-depot', depot], { stdio: 'ignore' })
  const port = await freePort()
  const args = ['-depot', depot, '-port', String(port), '-challenge', 'one-time']
  foreign = spawn('scepserver', args, { stdio: 'ignore' })
  const url = `http://127.0.0.1:${port}/scep?operation=`
  await whenUp(`${url}GetCACaps`)
  const ca = Buffer.from(await (await fetch(`${url}GetCACert`)).arrayBuffer())

  const key = generatePrivateKey('RSA-2048')
  const signer = softwareSigner(key)
  const subject = encodeName({ commonName: 'Pump 8' })
  const certificate = await certify(signer.spki)
  const algorithm = signer.algorithm
  const challenge = attribute(oids.challengePassword, utf8String('one-time'))
  const csr = rawCsr(key, { subject, algorithm, attributes: contextConstructed(0, challenge) })
  const senderNonce = randomBytes(16)
  const sender = { certificate, signer, transactionId: 't8', senderNonce, ra: ca }
  const body = await buildScepRequest({ type: 'PKCSReq', csr }, sender)
  const response = await fetch(`${url}PKIOperation`, { method: 'POST', body: new Uint8Array(body) })
  const reply = Buffer.from(await response.arrayBuffer())
  const expected = {
    transactionId: 't8',
    senderNonce,
    responderSpki: parseCertificate(ca).spki,
    decrypter: softwareDecrypter(key, idOfCertificate(certificate)),
    expects: 'certificates',
    leniency: old,
  } as const
  // Everything but its cipher is right: the error is the envelope's, not one about the answer.
  await expect(readCertRep(reply, expected)).rejects.toThrow('The envelope does not open')
  const { content } = verifySignedData(reply, {
    allowSha1: true,
    signerSpki: expected.responderSpki,
  })
  const degenerate = openDes(content ?? Buffer.alloc(0), { certificate, key })
  const spkis = readCertsOnly(degenerate).map((der) => readCertificateHead(der).spki)
  expect(spkis).toContainEqual(spkiOf(key))
})
