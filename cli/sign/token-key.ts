import { createPublicKey } from 'node:crypto'

import { PkiError } from '../../pki/errors.ts'
import { makePkcs11Key, openPkcs11Key, type Pkcs11Access } from '../../pki/pkcs11.ts'
import type { Signer } from '../../pki/signer.ts'
import { type TufKey, tufKeyOf } from '../../pki/tuf/keys.ts'
import { Failure } from '../failure.ts'

/** How a key in a token is reached; a test brings a library of its own. */
export type TokenLibrary = Pick<Pkcs11Access, 'modulePath' | 'load' | 'now'>

export interface TokenKey {
  tufKey: TufKey
  sign: (bytes: Buffer) => Promise<Buffer>
}

/** What a key folder holds of such a key is a file that says where it is (RFC 7512). The PIN is asked as its passphrase. */
const uriPattern = /^pkcs11:[ -~]{1,1000}$/

export function isTokenFile(file: string): boolean {
  return file.endsWith('.pkcs11')
}

/** Makes an Ed25519 key in a token, or finds it there. Throws Failure `passphrase` for what the token refuses. */
export async function makeTokenKey(
  uri: string,
  pin: string,
  library: TokenLibrary = {},
): Promise<TokenKey> {
  return await reach(uri, async (access) => await makePkcs11Key(access, 'Ed25519'), pin, library)
}

export async function openTokenKey(
  text: string,
  pin: string,
  library: TokenLibrary = {},
): Promise<TokenKey> {
  return await reach(text.trim(), openPkcs11Key, pin, library)
}

async function reach(
  uri: string,
  open: (access: Pkcs11Access) => Promise<Signer>,
  pin: string,
  library: TokenLibrary,
): Promise<TokenKey> {
  if (!uriPattern.test(uri)) throw new Failure('key-folder', 'This is not the URI of a token key')
  try {
    const signer = await open({ ...library, uri, pin: () => pin })
    const key = createPublicKey({ key: signer.spki, format: 'der', type: 'spki' })
    return { tufKey: tufKeyOf(key), sign: async (bytes) => await signer.sign(bytes) }
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause
    throw new Failure('passphrase', `The token does not open this key: ${cause.message}`, { cause })
  }
}
