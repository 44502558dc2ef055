import { createHash } from 'node:crypto'
import { join } from 'node:path'

import { z } from 'zod'

import { buildCrl, signCrl } from '../../pki/crl/build.ts'
import { crlReasons } from '../../pki/crl/revocation.ts'
import { PkiError } from '../../pki/errors.ts'
import { verifySignature } from '../../pki/signer.ts'
import type { Certificate } from '../../pki/x509/parse.ts'
import type { RootWithKey } from '../../pki/x509/rollover.ts'
import { Failure } from '../failure.ts'
import { readSmall, replaceFile } from '../sign/files.ts'

export const revocationsFile = 'revocations.json'
const maxBytes = 1024 * 1024
const maxEntries = 1_000

/** Why the root takes an authority back: the words of RFC 5280 §5.3.1. */
export const authorityReasons = [
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
] as const

const State = z.strictObject({
  /** Of the last list, which the next one exceeds. */
  number: z.number().int().min(0),
  revoked: z
    .array(
      z.strictObject({
        serial: z.string().regex(/^[0-9a-f]{2,40}$/),
        at: z.iso.datetime(),
        reason: z.enum(authorityReasons),
      }),
    )
    .max(maxEntries),
})
type State = z.infer<typeof State>

/** What the root of a folder took back, and how many lists it made. @throws Failure `root-folder` */
export function readRevocations(dir: string): State {
  const path = join(dir, revocationsFile)
  const text = readSmall(path, maxBytes)
  if (text === undefined) return { number: 0, revoked: [] }
  try {
    return State.parse(JSON.parse(text))
  } catch (cause) {
    // A list that forgets somebody would let them back.
    throw new Failure('root-folder', `${path} is damaged: restore it from a copy`, { cause })
  }
}

export interface NewCrl {
  dir: string
  root: RootWithKey
  /** Certificates of authorities that the root takes back, beside those before. */
  revoke: readonly Certificate[]
  reason: (typeof authorityReasons)[number]
  days: number
  now: Date
}

export interface MadeCrl {
  der: Buffer
  number: number
  revoked: number
  nextUpdate: Date
  /** SHA-256 of the list, hex. */
  fingerprint: string
}

const dayMs = 86_400_000

/**
 * The next list of a root (RFC 5280 §5): everything it ever took back. Its number is used up before the list is signed, so
 * that no two lists have one.
 *
 * @throws PkiError `certificate` for a certificate of somebody else; Failure `root-folder`
 */
export async function makeRootCrl(input: NewCrl): Promise<MadeCrl> {
  const { dir, root, revoke, reason, days } = input
  const { certificate, signer } = root
  const at = new Date(Math.floor(input.now.getTime() / 1000) * 1000)
  const nextUpdate = new Date(at.getTime() + days * dayMs)
  if (nextUpdate > certificate.notAfter) {
    throw new PkiError(
      'crl',
      `The root ends before: it is valid until ${certificate.notAfter.toISOString()}`,
    )
  }
  const before = readRevocations(dir)
  const revoked = new Map(before.revoked.map((entry) => [entry.serial, entry]))
  for (const one of revoke) {
    assertOwn(one, certificate)
    const serial = one.serial.toString('hex')
    // The first time and reason stay.
    if (!revoked.has(serial)) revoked.set(serial, { serial, at: at.toISOString(), reason })
  }
  const state = { number: before.number + 1, revoked: [...revoked.values()] }
  replaceFile(join(dir, revocationsFile), `${JSON.stringify(State.parse(state), null, 2)}\n`, 0o600)
  const der = await signCrl(
    buildCrl({
      issuerName: certificate.subject,
      issuerKeyId: keyIdOf(certificate),
      signatureAlgorithm: signer.algorithm,
      number: BigInt(state.number),
      thisUpdate: at,
      nextUpdate,
      revoked: state.revoked.map((entry) => ({
        serial: Buffer.from(entry.serial, 'hex'),
        revokedAt: new Date(entry.at),
        reason: crlReasons[entry.reason],
      })),
    }),
    signer,
  )
  const fingerprint = createHash('sha256').update(der).digest('hex')
  return { der, number: state.number, revoked: state.revoked.length, nextUpdate, fingerprint }
}

function keyIdOf({ subjectKeyId }: Certificate): Buffer {
  if (subjectKeyId) return subjectKeyId
  throw new PkiError('certificate', 'The root has no key identifier')
}

function assertOwn(one: Certificate, root: Certificate): void {
  const { signatureAlgorithm, tbs, signature, issuer } = one
  const isOwn = issuer.equals(root.subject) && !one.der.equals(root.der)
  if (isOwn && verifySignature(signatureAlgorithm, root.spki, tbs, signature)) return
  throw new PkiError('certificate', 'This root did not make the certificate that is to be revoked')
}
