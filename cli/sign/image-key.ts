import { createPrivateKey } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

import { PkiError } from '../../pki/errors.ts'
import { buildImageSignerCertificate } from '../../pki/images/signer-certificate.ts'
import { generatePrivateKey } from '../../pki/keys.ts'
import { fromPem, toPem } from '../../pki/pem.ts'
import { makePkcs11Key, openPkcs11Key } from '../../pki/pkcs11.ts'
import { type Signer, softwareSigner } from '../../pki/signer.ts'
import { exportEncrypted } from '../../pki/tuf/keys.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { Failure } from '../failure.ts'
import { readSmall, writeNew } from './files.ts'
import { type Passphrase, storedPassphrase } from './key-folder.ts'
import type { TokenLibrary } from './token-key.ts'

/*
 * Devices that verify only their own format know an X.509 certificate, and what they are built with (OpenSSL before 3.2) verifies no
 * Ed25519 in CMS. So whoever holds a release key holds a P-256 key beside it, in the same folder or the same token.
 */

const namePattern = /^[a-z0-9][a-z0-9-]{0,31}$/
const filesOf = (name: string) => ({
  key: `${name}.image.pem`,
  token: `${name}.image.pkcs11`,
  certificate: `${name}.image.crt`,
})

export interface ImageKeyOptions {
  keysDir: string
  name: string
  /** Made in a token, where this says; its PIN is asked as the passphrase of that file. */
  tokenUri?: string | undefined
  tokens?: TokenLibrary
  /** By default what evaluation mode left in the folder. */
  passphrase?: Passphrase | undefined
}

/**
 * Makes a key that signs images, and the certificate by which devices know it. Gives the names of both files in the folder.
 * Throws Failure `key-folder` when the name is taken: keys are never overwritten.
 */
export async function newImageKey(
  options: ImageKeyOptions,
): Promise<{ key: string; certificate: string }> {
  const { keysDir, name, tokenUri } = options
  if (!namePattern.test(name)) {
    throw new Failure('usage', 'A key has a name of lower-case letters, digits and hyphens')
  }
  const files = filesOf(name)
  if (Object.values(files).some((file) => existsSync(join(keysDir, file)))) {
    throw new Failure('key-folder', `There is an image key ${name} already`, {
      nextStep: 'Choose a name that was never used, such as release-2',
    })
  }
  const ask = options.passphrase ?? storedPassphrase(keysDir)
  if (!ask) throw new Failure('usage', 'A key needs a passphrase, held by a person')
  const file = tokenUri === undefined ? files.key : files.token
  const secret = await ask(file)
  const made =
    tokenUri === undefined
      ? inMemory(secret, storedPassphrase(keysDir) ? 'random' : 'typed')
      : { ...(await inToken(tokenUri, secret, options.tokens)), text: `${tokenUri}\n` }
  const certificate = await buildImageSignerCertificate(name, made.signer)
  writeNew(join(keysDir, file), made.text, 0o600)
  writeNew(join(keysDir, files.certificate), toPem('CERTIFICATE', certificate), 0o644)
  return { key: file, certificate: files.certificate }
}

function inMemory(passphrase: string, origin: 'random' | 'typed') {
  const key = generatePrivateKey('P-256')
  return { signer: softwareSigner(key), text: exportEncrypted(key, passphrase, origin) }
}

async function inToken(uri: string, pin: string, library: TokenLibrary = {}) {
  return {
    signer: await ofToken(async () => {
      return await makePkcs11Key({ ...library, uri, pin: () => pin }, 'P-256')
    }),
  }
}

/**
 * The key of a name and its certificate (DER). Throws Failure `key-folder`, or `passphrase` for one that does not open it.
 */
export async function openImageKey(
  options: Omit<ImageKeyOptions, 'tokenUri'>,
): Promise<{ signer: Signer; certificate: Buffer }> {
  const { keysDir, name, tokens } = options
  const files = filesOf(name)
  const certificate = certificateIn(join(keysDir, files.certificate))
  const ask = options.passphrase ?? storedPassphrase(keysDir)
  if (!ask) throw new Failure('usage', 'The key needs its passphrase')
  const uri = readSmall(join(keysDir, files.token), 16_384)?.trim()
  const signer =
    uri === undefined
      ? fromFile(join(keysDir, files.key), await ask(files.key))
      : await ofToken(async () => {
          const pin = await ask(files.token)
          return await openPkcs11Key({ ...tokens, uri, pin: () => pin })
        })
  if (!parseCertificate(certificate).spki.equals(signer.spki)) {
    throw new Failure('key-folder', `${files.certificate} is the certificate of another key`)
  }
  return { signer, certificate }
}

function certificateIn(path: string): Buffer {
  const text = readSmall(path, 65_536)
  if (text === undefined) {
    throw new Failure('key-folder', `There is no ${path}`, {
      nextStep: 'Make a key that signs images: fleetseal sign image-key NAME',
    })
  }
  try {
    const [der] = fromPem(text, 'CERTIFICATE')
    if (der) return der
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause
    throw new Failure('key-folder', `${path} is no certificate`, { cause })
  }
  throw new Failure('key-folder', `${path} is no certificate`)
}

function fromFile(path: string, passphrase: string): Signer {
  const text = readSmall(path, 16_384)
  if (text === undefined) throw new Failure('key-folder', `There is no key file ${path}`)
  try {
    return softwareSigner(createPrivateKey({ key: text, format: 'pem', passphrase }))
  } catch (cause) {
    throw new Failure('passphrase', `${path} does not open with this passphrase`, { cause })
  }
}

async function ofToken(open: () => Promise<Signer>): Promise<Signer> {
  try {
    return await open()
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause
    throw new Failure('passphrase', `The token does not open this key: ${cause.message}`, { cause })
  }
}
