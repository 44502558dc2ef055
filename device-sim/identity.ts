import type { KeyObject } from 'node:crypto'
import { createPrivateKey } from 'node:crypto'

import { buildCsr } from '../pki/csr/build.ts'
import { parseCsr } from '../pki/csr/parse.ts'
import { PkiError } from '../pki/errors.ts'
import { generatePrivateKey, type KeyAlgorithm, readPublicKey, spkiOf } from '../pki/keys.ts'
import { encodeName } from '../pki/names.ts'
import { validatePath } from '../pki/path-validate.ts'
import { fromPem, toPem } from '../pki/pem.ts'
import type { Certificate } from '../pki/x509/parse.ts'
import { parseCertificate } from '../pki/x509/parse.ts'
import type { Disk } from './disk.ts'
import { removeFile, replaceFile } from './disk.ts'
import { DeviceError } from './errors.ts'
import { followRoots } from './server-roots.ts'

/** Who the device is: its key, its certificate with what chains it to the root, and that root, as PEM texts. */
export interface Identity {
  deviceId: string
  key: string
  /** Leaf first, then its issuers without the root. */
  certificates: string
  root: string
  leaf: Certificate
}

/** A request whose certificate has not arrived yet: sent again as it is, so that the server answers the same. */
export interface PendingRequest {
  key: KeyObject
  csr: Buffer
}

const identityFile = 'identity.pem'
const rootFile = 'server-root.pem'
const maxBytes = 262_144
const keyLabel = 'PRIVATE KEY'
const certificateLabel = 'CERTIFICATE'
const requestLabel = 'CERTIFICATE REQUEST'

export async function saveServerRoot(disk: Disk, pem: string): Promise<void> {
  const [root] = readPem('The root certificate', pem, certificateLabel)
  if (!root || !parseCertificate(root).isCa) {
    throw new DeviceError(
      'identity',
      'The root is not a CA certificate',
      'Give data/ca/root.pem of the server',
    )
  }
  await replaceFile(disk, rootFile, Buffer.from(toPem(certificateLabel, root)))
}

/** Trusts the roots that follow those it trusts, and no longer those that ended. One file: the old set or the new one. */
export async function followServerRoots(disk: Disk, given: Buffer[], at: Date): Promise<void> {
  const before = await loadServerRoot(disk)
  const after = followRoots(before, given, at)
  if (after !== before) await replaceFile(disk, rootFile, Buffer.from(after))
}

export async function loadServerRoot(disk: Disk): Promise<string> {
  const bytes = await disk.read(rootFile, maxBytes)
  if (!bytes) {
    throw new DeviceError(
      'not-enrolled',
      'The server root is missing',
      'Run: npm run device -- enroll',
    )
  }
  return bytes.toString('utf8')
}

/** The identity, or undefined before the first certificate. Throws DeviceError when what is stored is damaged. */
export async function findIdentity(disk: Disk): Promise<Identity | undefined> {
  const bytes = await disk.read(identityFile, maxBytes)
  if (!bytes) return undefined
  const text = bytes.toString('utf8')
  const [keyDer] = readPem(identityFile, text, keyLabel)
  const chain = readPem(identityFile, text, certificateLabel)
  const [leafDer] = chain
  if (!keyDer || !leafDer) throw damaged(identityFile)
  const key = openKey(keyDer)
  const leaf = parseCertificate(leafDer)
  if (!leaf.spki.equals(spkiOf(key))) throw damaged(identityFile)
  return {
    deviceId: deviceIdOf(leaf),
    key: toPem(keyLabel, keyDer),
    certificates: chain.map((der) => toPem(certificateLabel, der)).join(''),
    root: await loadServerRoot(disk),
    leaf,
  }
}

/**
 * Stores a certificate that was issued for `key`, after checking that it is for this key, names a device and chains to
 * the pinned root. Key and certificate are one file: a power cut leaves the old pair or the new one.
 *
 * @param issued DER
 * @param issuers DER of CA certificates in any order, not trusted
 */
export async function saveIdentity(
  disk: Disk,
  {
    key,
    issued,
    issuers,
    at,
    deviceId,
  }: { key: KeyObject; issued: Buffer; issuers: Buffer[]; at: Date; deviceId?: string },
): Promise<void> {
  const root = await loadServerRoot(disk)
  const chain = chainTo(root, { issued, issuers, at })
  const leaf = parseCertificate(issued)
  if (!leaf.spki.equals(spkiOf(key))) throw refused('is for another key')
  const named = deviceIdOf(leaf)
  if (deviceId !== undefined && named !== deviceId) throw refused('names another device')
  const text = [
    toPem(keyLabel, key.export({ format: 'der', type: 'pkcs8' })),
    ...chain.map((der) => toPem(certificateLabel, der)),
  ].join('')
  await replaceFile(disk, identityFile, Buffer.from(text))
}

/** `urn:uuid:` in the subjectAltName (architecture.md section 6); never the common name. */
export function deviceIdOf({ subjectAltName = [] }: Certificate): string {
  const ids = subjectAltName.flatMap((name) =>
    name.type === 'uri' && name.value.startsWith('urn:uuid:') ? [name.value.slice(9)] : [],
  )
  const [id] = ids
  if (
    ids.length !== 1 ||
    id === undefined ||
    !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id)
  ) {
    throw refused('does not name a device')
  }
  return id
}

/**
 * The request that is under way, or a new one with a new key that is stored before it is ever sent. `file` keeps the first
 * enrollment and a renewal apart; a renewal repeats the names of the certificate it follows (RFC 7030 §4.2.2), and its kind
 * of key.
 */
export async function pendingRequest(
  disk: Disk,
  {
    file,
    serialNumber,
    renews,
    algorithm = 'P-256',
  }: { file: string; serialNumber: string; renews?: Certificate; algorithm?: KeyAlgorithm },
): Promise<PendingRequest> {
  const subject = renews?.subject ?? encodeName({ serialNumber })
  const stored = await disk.read(file, maxBytes)
  if (stored) {
    const pending = readPending(file, stored.toString('utf8'))
    // A request that was answered but not removed, or that was for another name, is of no use any more.
    const isAnswered = renews?.spki.equals(spkiOf(pending.key)) ?? false
    if (!isAnswered && parseCsr(pending.csr).subject.equals(subject)) return pending
  }
  const key = generatePrivateKey(renews ? kindOf(renews) : algorithm)
  const uris = (renews?.subjectAltName ?? []).flatMap((name) =>
    name.type === 'uri' ? [name.value] : [],
  )
  const csr = buildCsr(key, { subject, uris })
  const text =
    toPem(keyLabel, key.export({ format: 'der', type: 'pkcs8' })) + toPem(requestLabel, csr)
  await replaceFile(disk, file, Buffer.from(text))
  return { key, csr }
}

function kindOf({ spki }: Certificate): KeyAlgorithm {
  const { algorithm } = readPublicKey(spki)
  if (algorithm !== 'RSA') return algorithm
  throw new DeviceError('identity', 'An RSA key of an unusual size', 'Enroll the device anew')
}

export async function forgetRequest(disk: Disk, file: string): Promise<void> {
  await removeFile(disk, file)
}

function readPending(file: string, text: string): PendingRequest {
  const [keyDer] = readPem(file, text, keyLabel)
  const [csr] = readPem(file, text, requestLabel)
  if (!keyDer || !csr) throw damaged(file)
  return { key: openKey(keyDer), csr }
}

function chainTo(
  root: string,
  { issued, issuers, at }: { issued: Buffer; issuers: Buffer[]; at: Date },
): Buffer[] {
  const anchors = readPem(rootFile, root, certificateLabel)
  const chain = [issued, ...issuersOf(issued, issuers, anchors)]
  const verdict = validatePath(chain, anchors, { at, purpose: 'clientAuth' })
  if (!verdict.valid) throw refused(`does not chain to the root: ${verdict.detail}`)
  return chain
}

/**
 * Up from the leaf by name, each issuer once, until an anchor is above; what does not fit fails in the path validation. Another
 * root is no step on the way, but a certificate of it by one that is trusted (RFC 4210 §4.4) is.
 */
function issuersOf(
  leaf: Buffer,
  candidates: readonly Buffer[],
  anchors: readonly Buffer[],
): Buffer[] {
  const found: Buffer[] = []
  let at = parseCertificate(leaf)
  const tops = anchors.map((der) => parseCertificate(der))
  const parsed = candidates
    .map((der) => parseCertificate(der))
    .filter(({ subject, issuer }) => !subject.equals(issuer))
  for (let depth = 0; depth < 4; depth += 1) {
    const { issuer, authorityKeyId } = at
    const isAbove = ({ subject, subjectKeyId }: Certificate) =>
      subject.equals(issuer) &&
      (!authorityKeyId || !subjectKeyId || subjectKeyId.equals(authorityKeyId))
    if (tops.some(isAbove)) return found
    const next = parsed.find((one) => isAbove(one) && !found.includes(one.der))
    if (!next) return found
    found.push(next.der)
    at = next
  }
  return found
}

function openKey(der: Buffer): KeyObject {
  try {
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  } catch (cause) {
    throw new DeviceError('damaged', 'The stored key cannot be read', 'Enroll the device anew', {
      cause,
    })
  }
}

function readPem(what: string, text: string, label: string): Buffer[] {
  try {
    return fromPem(text, label)
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause
    throw new DeviceError(
      'damaged',
      `${what} is not readable: ${cause.message}`,
      'Check the file',
      { cause },
    )
  }
}

function damaged(file: string): DeviceError {
  return new DeviceError('damaged', `${file} is damaged`, 'Enroll the device anew')
}

function refused(why: string): DeviceError {
  return new DeviceError(
    'identity',
    `The certificate that was issued ${why}`,
    'Check that the root and the server belong together',
  )
}
