import { readFile } from 'node:fs/promises'

import { signingIdentifierOf } from '../../pki/algorithms.ts'
import { PkiError } from '../../pki/errors.ts'
import { readPublicKey } from '../../pki/keys.ts'
import { parsePkcs11Uri } from '../../pki/pkcs11-uri.ts'
import {
  destroyPkcs11Key,
  makePkcs11Key,
  type Pkcs11Access,
  pkcs11SignerFor,
  type TokenAlgorithm,
} from '../../pki/pkcs11.ts'
import type { Signer } from '../../pki/signer.ts'
import type { Config } from '../config.ts'
import { DomainError } from '../errors.ts'
import { hasCode } from './files.ts'

type TokenConfig = Pick<Config, 'pkcs11'>
const maxPinBytes = 256

/**
 * The key of a URI in a token, made there when the token does not have it.
 *
 * @throws DomainError `invalid-request` for a URI that is not one, or a key of another kind, `busy` when the token cannot be
 *   used
 */
export async function makeTokenKey(
  config: TokenConfig,
  uri: string,
  algorithm: TokenAlgorithm,
): Promise<Signer> {
  const access = accessTo(config, checked(uri))
  return guarded(await talking(async () => await makePkcs11Key(access, algorithm)))
}

/** A key in a token whose public half is known. Nothing is opened before the first signature. */
export function tokenSigner(config: TokenConfig, spki: Buffer, uri: string): Signer {
  if (!config.pkcs11) return unreachable(config, spki, uri)
  return guarded(pkcs11SignerFor(spki, accessTo(config, uri)))
}

/** The key with this public half, and no other that has its place by now. @throws DomainError `busy` */
export async function destroyTokenKey(
  config: TokenConfig,
  spki: Buffer,
  uri: string,
): Promise<void> {
  const access = accessTo(config, uri)
  await talking(async () => await destroyPkcs11Key(spki, access))
}

function unreachable(config: TokenConfig, spki: Buffer, uri: string): Signer {
  return {
    algorithm: signingIdentifierOf(readPublicKey(spki).family),
    spki,
    sign: async () => {
      accessTo(config, uri)
      throw new Error('A token without access to it')
    },
  }
}

function accessTo({ pkcs11 }: TokenConfig, uri: string): Pkcs11Access {
  if (!pkcs11) {
    throw new DomainError(
      'busy',
      'This server knows no token: set FLEETSEAL_PKCS11_MODULE and FLEETSEAL_PKCS11_PIN_FILE, and start it again',
    )
  }
  const { modulePath, pinFile } = pkcs11
  return { uri, modulePath, pin: async () => await readPin(pinFile) }
}

/** The path of a library comes from the configuration only: whoever may call us must not choose what is loaded. */
function checked(uri: string): string {
  try {
    if (parsePkcs11Uri(uri).modulePath === undefined) return uri
  } catch (error) {
    if (!(error instanceof PkiError)) throw error
    throw refused(error.message)
  }
  throw refused('The library is chosen by FLEETSEAL_PKCS11_MODULE: leave module-path out')
}

function refused(message: string): DomainError {
  return new DomainError('invalid-request', message, { issues: [{ at: 'keyUri', message }] })
}

async function readPin(path: string): Promise<string> {
  try {
    const bytes = await readFile(path)
    const pin = bytes.toString('utf8').replace(/\r?\n$/, '')
    if (bytes.length <= maxPinBytes && pin !== '') return pin
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error
    const why = hasCode(error, 'ENOENT') ? 'is not there' : 'cannot be read'
    throw new PkiError('token', `FLEETSEAL_PKCS11_PIN_FILE ${path} ${why}`)
  }
  throw new PkiError('token', `FLEETSEAL_PKCS11_PIN_FILE ${path} must hold one short line`)
}

function guarded(signer: Signer): Signer {
  const { algorithm, spki } = signer
  return {
    algorithm,
    spki,
    sign: async (bytes) => await talking(async () => await signer.sign(bytes)),
  }
}

/** A token that is away is no fault of the caller, and not for ever. */
async function talking<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof PkiError)) throw error
    if (error.code !== 'token') throw refused(error.message)
    throw new DomainError('busy', error.message, {}, { cause: error })
  }
}
