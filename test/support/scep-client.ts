import { randomBytes } from 'node:crypto'
import https from 'node:https'

import { readCertificateHead } from '../../pki/cms/certificate-id.ts'
import { idOfCertificate } from '../../pki/cms/certificate-id.ts'
import { readCertsOnly } from '../../pki/cms/certs-only.ts'
import { oids } from '../../pki/der/oids.ts'
import { contextConstructed, utf8String } from '../../pki/der/writer.ts'
import { softwareDecrypter } from '../../pki/forge.ts'
import { encodeName } from '../../pki/names.ts'
import { readCertRep, type ScepOutcome } from '../../pki/scep/reply.ts'
import { buildScepRequest, type ScepQuestion } from '../../pki/scep/request-build.ts'
import { softwareSigner } from '../../pki/signer.ts'
import type { Party } from './cms-fixture.ts'
import { attribute, rawCsr } from './pki-fixture.ts'

export interface ScepAnswer {
  status: number
  contentType: string | undefined
  body: Buffer
}

export interface Question {
  question: ScepQuestion
  party: Pick<Party, 'key' | 'certificate'>
  transactionId: string
  senderNonce?: Buffer
  method?: 'GET' | 'POST'
}

export interface ScepClient {
  call: (query: string, body?: Buffer) => Promise<ScepAnswer>
  /** The registration authority's certificate, from GetCACert. */
  ra: () => Promise<Buffer>
  /** The bytes of a request. */
  build: (question: Question) => Promise<Buffer>
  /** Asks, and reads the answer as a client does. Rejects when the status is not 200. */
  ask: (question: Question) => Promise<ScepOutcome>
}

/** Over HTTPS, without a client certificate. */
export function scepClient(
  { port, ca }: { port: number; ca: string },
  profile: string,
): ScepClient {
  const call: ScepClient['call'] = async (query, body) => {
    const { promise, resolve, reject } = Promise.withResolvers<ScepAnswer>()
    const request = https.request(
      {
        host: 'localhost',
        port,
        ca,
        agent: false,
        method: body ? 'POST' : 'GET',
        path: `/scep/${profile}${query}`,
        headers: body ? { 'Content-Type': 'application/x-pki-message' } : {},
      },
      (response) => {
        response.toArray().then((chunks: Buffer[]) => {
          const { statusCode: status = 0, headers } = response
          resolve({ status, contentType: headers['content-type'], body: Buffer.concat(chunks) })
        }, reject)
      },
    )
    request.once('error', reject)
    request.end(body)
    return await promise
  }
  const ra = async () => {
    const { body } = await call('?operation=GetCACert')
    const [first] = readCertsOnly(body).filter((der) => readCertificateHead(der).spki.length > 400)
    if (!first) throw new Error('There is no registration authority')
    return first
  }
  const build = async ({ question, party, transactionId, senderNonce }: Question) =>
    await buildScepRequest(question, {
      certificate: party.certificate,
      signer: softwareSigner(party.key),
      transactionId,
      senderNonce: senderNonce ?? randomBytes(16),
      ra: await ra(),
    })
  const ask: ScepClient['ask'] = async (given) => {
    const senderNonce = given.senderNonce ?? randomBytes(16)
    const { party, question, transactionId, method = 'POST' } = given
    const der = await build({ ...given, senderNonce })
    const answer =
      method === 'POST'
        ? await call('?operation=PKIOperation', der)
        : await call(
            `?operation=PKIOperation&message=${encodeURIComponent(der.toString('base64'))}`,
          )
    if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body.toString()}`)
    return await readCertRep(answer.body, {
      transactionId,
      senderNonce,
      responderSpki: readCertificateHead(await ra()).spki,
      decrypter: softwareDecrypter(party.key, idOfCertificate(party.certificate)),
      expects: question.type === 'GetCRL' ? 'crl' : 'certificates',
    })
  }
  return { call, ra, build, ask }
}

const sha256WithRsa = Buffer.from('300d06092a864886f70d01010b0500', 'hex')

/** A request with a challengePassword. */
export function challengedCsr(
  { key }: Pick<Party, 'key'>,
  { commonName, challenge }: { commonName: string; challenge?: string },
): Buffer {
  const attributes =
    challenge === undefined ? [] : [attribute(oids.challengePassword, utf8String(challenge))]
  return rawCsr(key, {
    subject: encodeName({ commonName }),
    attributes: contextConstructed(0, ...attributes),
    algorithm: sha256WithRsa,
  })
}
