import { createPrivateKey, generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'

import { idOfCertificate } from '../../pki/cms/certificate-id.ts'
import { buildCsr } from '../../pki/csr/build.ts'
import { type Csr, type CsrContent, parseCsr, parseUnprovenCsr } from '../../pki/csr/parse.ts'
import { PkiError } from '../../pki/errors.ts'
import { readDecryptKey } from '../../pki/est/decrypt-key.ts'
import { sealGeneratedKey } from '../../pki/est/server-key.ts'
import { generatePrivateKey, type KeyAlgorithm, keyIdentifier } from '../../pki/keys.ts'
import { fromPem } from '../../pki/pem.ts'
import { softwareSigner } from '../../pki/signer.ts'
import { fingerprint, parseCertificate } from '../../pki/x509/parse.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Authorities } from '../authorities/authorities.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { refusedRequest } from './request.ts'

const rsaBits: Partial<Record<KeyAlgorithm, number>> = {
  'RSA-2048': 2048,
  'RSA-3072': 3072,
  'RSA-4096': 4096,
}
const maxAtOnce = 2
let running = 0

export interface KeyRequest {
  content: CsrContent
  /** To whom the key has to be encrypted, DER; undefined when TLS alone protects it. */
  recipient: Buffer | undefined
}

/**
 * Reads a request for a generated key (RFC 7030 §4.4.1): its names count, its key and signature are ignored. When it names a key to
 * encrypt to, that has to be the key of the certificate in the handshake: the only one both sides know here.
 *
 * @param presented the certificate that authenticated the caller, DER; undefined when something else did
 * @throws DomainError `invalid-request`
 */
export function readKeyRequest(der: Buffer, presented: Buffer | undefined): KeyRequest {
  try {
    const content = parseUnprovenCsr(der)
    if (content.asksForCa) {
      throw new DomainError('invalid-request', 'A device cannot be a certificate authority')
    }
    const wanted = readDecryptKey(content)
    if (!wanted) return { content, recipient: undefined }
    if (wanted.kind === 'asymmetric' && presented && hasKeyId(presented, wanted.id)) {
      return { content, recipient: presented }
    }
  } catch (error) {
    if (error instanceof PkiError) throw refusedRequest(error)
    throw error
  }
  throw new DomainError(
    'invalid-request',
    'The key to encrypt to is not known: name the subjectKeyIdentifier of the certificate you present',
  )
}

function hasKeyId(der: Buffer, id: Buffer): boolean {
  const { subjectKeyId, spki } = parseCertificate(der)
  return subjectKeyId?.equals(id) === true || keyIdentifier(spki).equals(id)
}

/**
 * A new key, and a request with the names asked for and a proof by that key, so that it takes the same way as any other.
 *
 * @throws DomainError `invalid-request` for names that no device has, `busy`
 */
export async function generateFor(
  { subject, subjectAltName = [] }: CsrContent,
  algorithm: KeyAlgorithm,
): Promise<{ key: KeyObject; csr: Csr }> {
  const uris = subjectAltName.map((name) => {
    if (name.type === 'uri') return name.value
    throw new DomainError('invalid-request', 'The subjectAltName can only be a URI')
  })
  const key = await generate(algorithm)
  try {
    return { key, csr: parseCsr(buildCsr(key, { subject, uris })) }
  } catch (error) {
    if (error instanceof PkiError) throw refusedRequest(error)
    throw error
  }
}

/** RSA keys take seconds of a processor: beside the event loop, and few at once. */
async function generate(algorithm: KeyAlgorithm): Promise<KeyObject> {
  const modulusLength = rsaBits[algorithm]
  if (modulusLength === undefined) return generatePrivateKey(algorithm)
  if (running >= maxAtOnce) {
    throw new DomainError('busy', 'Other keys are being made: try again in a moment')
  }
  running += 1
  try {
    return (await promisify(generateKeyPair)('rsa', { modulusLength })).privateKey
  } finally {
    running -= 1
  }
}

/**
 * The private key as it goes to the device: PKCS #8, or inside CMS EnvelopedData for the recipient and signed by this server.
 *
 * @throws DomainError `invalid-request` for a recipient's key that cannot encrypt
 */
export async function packKey(
  key: KeyObject,
  recipient: Buffer | undefined,
  { tls }: Pick<Authorities, 'tls'>,
): Promise<{ kind: 'plain' | 'sealed'; der: Buffer }> {
  const der = key.export({ type: 'pkcs8', format: 'der' })
  if (!recipient) return { kind: 'plain', der }
  const [certificate] = fromPem(tls.cert, 'CERTIFICATE')
  if (!certificate) throw new Error('The server has no certificate')
  const generator = { certificate, signer: softwareSigner(createPrivateKey(tls.key)) }
  const { spki } = parseCertificate(recipient)
  const to = { kind: 'certificate', id: idOfCertificate(recipient), spki } as const
  try {
    return { kind: 'sealed', der: await sealGeneratedKey(der, generator, to) }
  } catch (error) {
    if (error instanceof PkiError && error.code === 'key') throw refusedRequest(error)
    throw error
  }
}

/** Who knew a key at some time is part of its history. The key itself is in no record. */
export async function recordServerKey(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  { certificate, csr, isEncrypted }: { certificate: Buffer; csr: Csr; isEncrypted: boolean },
): Promise<void> {
  await inTransaction(db, async (tx) => {
    await recordAudit(tx, {
      at: clock.now(),
      actor: 'system',
      action: 'certificate.server-key',
      subject: fingerprint(certificate),
      facts: { algorithm: csr.publicKey.algorithm, isEncrypted },
    })
  })
}
