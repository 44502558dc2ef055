import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

import { encryptPrivateKey, readEncryptedPrivateKey } from '../../pki/encrypted-key.ts'
import { PkiError } from '../../pki/errors.ts'
import { generatePrivateKey, type KeyAlgorithm } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { fromPem, toPem } from '../../pki/pem.ts'
import { makePkcs11Key, openPkcs11Key, tokenAlgorithms } from '../../pki/pkcs11.ts'
import { type Signer, softwareSigner } from '../../pki/signer.ts'
import { newSerial, signCertificate } from '../../pki/x509/issue.ts'
import { lintTbs } from '../../pki/x509/lint.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { buildTbs } from '../../pki/x509/profiles.ts'
import type { RootWithKey } from '../../pki/x509/rollover.ts'
import { Failure } from '../failure.ts'
import { readSmall, syncDirectory, writeNew } from '../sign/files.ts'
import type { Passphrase } from '../sign/key-folder.ts'

export const rootFile = 'root.pem'
export const rootKeyFile = 'root-key.pem'
/** Instead, when the key is in a token. */
export const rootKeyUriFile = 'root-key.uri'
export const rootAlgorithms = ['P-384', 'P-256', 'RSA-4096', 'ML-DSA-65', 'ML-DSA-87'] as const

const keyLabel = 'ENCRYPTED PRIVATE KEY'
const maxBytes = 65_536
const dayMs = 86_400_000

export interface NewRoot {
  /** The new folder; must not exist. */
  dir: string
  commonName: string
  organization?: string | undefined
  algorithm: (typeof rootAlgorithms)[number]
  years: number
  /** The key is made in the token that this names; `passphrase` gives its PIN. */
  keyUri?: string | undefined
  passphrase: Passphrase
  now: Date
}

/**
 * Makes a root: its folder appears whole or not at all, and is never written over. The key is encrypted to a passphrase.
 *
 * @throws Failure `exists`, `refused`
 */
export async function makeRoot(root: NewRoot): Promise<RootWithKey> {
  const dir = resolve(root.dir)
  if (existsSync(dir)) {
    throw new Failure('exists', `${root.dir} exists already`, {
      nextStep: 'Choose another folder with --dir: a root is never written over',
    })
  }
  const key = root.keyUri === undefined ? await newKey(root) : await newTokenKey(root, root.keyUri)
  const made = await selfSigned(root, key.signer)
  mkdirSync(dirname(dir), { recursive: true })
  const temporary = mkdtempSync(`${dir}.new-`)
  try {
    writeNew(join(temporary, key.file), key.text, 0o600)
    writeNew(join(temporary, rootFile), toPem('CERTIFICATE', made.certificate.der), 0o644)
    renameSync(temporary, dir)
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true })
    throw error
  }
  syncDirectory(dirname(dir))
  return made
}

/** What the folder keeps of a key, and its signer. */
interface NewKey {
  signer: Signer
  file: string
  text: string
}

async function newKey({ algorithm, passphrase }: NewRoot): Promise<NewKey> {
  const key = generatePrivateKey(algorithm satisfies KeyAlgorithm)
  const encrypted = await encryptPrivateKey(key, await passphrase(rootKeyFile))
  return { signer: softwareSigner(key), file: rootKeyFile, text: toPem(keyLabel, encrypted) }
}

/** The token keeps the key; the folder says where it is. */
async function newTokenKey({ algorithm, passphrase }: NewRoot, uri: string): Promise<NewKey> {
  const wanted = tokenAlgorithms.find((one) => one === algorithm)
  if (!wanted) {
    throw new Failure('refused', `A key of the kind ${algorithm} cannot be made in a token`, {
      nextStep: `Use one of ${rootAlgorithms.filter((one) => tokenAlgorithms.some((two) => one === two)).join(', ')}`,
    })
  }
  const pin = await passphrase('the token (PIN)')
  const signer = await refusing(() => makePkcs11Key({ uri, pin: () => pin }, wanted))
  return { signer, file: rootKeyUriFile, text: `${uri}\n` }
}

async function selfSigned(
  { commonName, organization, years, now }: NewRoot,
  signer: Signer,
): Promise<RootWithKey> {
  const at = Math.floor(now.getTime() / 1000) * 1000
  return await refusing(async () => {
    const tbs = buildTbs('root', {
      serial: newSerial(),
      subject: encodeName({ commonName, ...(organization === undefined ? {} : { organization }) }),
      spki: signer.spki,
      notBefore: new Date(at - 300_000),
      notAfter: new Date(at + years * 365 * dayMs),
      signatureAlgorithm: signer.algorithm,
    })
    const findings = lintTbs(tbs, 'root')
    if (findings.length > 0) throw new PkiError('profile', findings.join('; '))
    return { signer, certificate: parseCertificate(await signCertificate(tbs, signer)) }
  })
}

/** The root of a folder, opened with its passphrase. @throws Failure `root-folder`, `passphrase` */
export async function openRoot(dir: string, passphrase: Passphrase): Promise<RootWithKey> {
  const certificate = readRoot(join(dir, rootFile))
  const signer = await openSigner(dir, passphrase)
  if (!signer.spki.equals(certificate.spki)) {
    throw new Failure('root-folder', `The key of ${dir} is not the one of ${rootFile}`)
  }
  return { certificate, signer }
}

async function openSigner(dir: string, passphrase: Passphrase): Promise<Signer> {
  const uri = readSmall(join(dir, rootKeyUriFile), maxBytes)?.trim()
  if (uri !== undefined) {
    const pin = await passphrase('the token (PIN)')
    return await refusing(() => openPkcs11Key({ uri, pin: () => pin }))
  }
  const path = join(dir, rootKeyFile)
  const [der, ...more] = pemOf(path, keyLabel)
  if (!der || more.length > 0) throw new Failure('root-folder', `${path} does not hold one key`)
  return softwareSigner(openKey(path, der, await passphrase(path)))
}

function openKey(path: string, der: Buffer, passphrase: string) {
  try {
    return readEncryptedPrivateKey(der, passphrase)
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause
    throw new Failure('passphrase', `${path}: ${cause.message}`, { cause })
  }
}

/** One root certificate from a file. */
export function readRoot(path: string) {
  const [der, ...more] = pemOf(path, 'CERTIFICATE')
  if (!der || more.length > 0) {
    throw new Failure('root-folder', `${path} does not hold one certificate`)
  }
  return parseCertificate(der)
}

function pemOf(path: string, label: string): Buffer[] {
  const text = readSmall(path, maxBytes)
  if (text === undefined) throw new Failure('root-folder', `There is no ${path}`)
  return refusingNow(() => fromPem(text, label))
}

/** What the library refuses, in its words. */
export async function refusing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw asRefusal(error)
  }
}

export function refusingNow<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw asRefusal(error)
  }
}

function asRefusal(error: unknown): unknown {
  return error instanceof PkiError ? new Failure('refused', error.message, { cause: error }) : error
}
