import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'

import { exportEncrypted, keyId } from '../../pki/tuf/keys.ts'
import type { PqScheme } from '../../pki/tuf/post-quantum.ts'
import { Failure } from '../failure.ts'
import { replaceFile, writeNew } from './files.ts'
import { listed, newHolderKey } from './init.ts'
import {
  keyFileOf,
  type Passphrase,
  pqFileOf,
  publicFile,
  type PublicPart,
  readPublicPart,
  storedPassphrase,
  tokenFileOf,
} from './key-folder.ts'
import { makeTokenKey, type TokenLibrary } from './token-key.ts'

export interface NewKeyOptions {
  keysDir: string
  /** Of the holder's key: its files are NAME.pem and, with an ML-DSA half, NAME.pq.pem. */
  name: string
  postQuantum?: PqScheme | undefined
  /** The Ed25519 half is made in a token, where this says; its PIN is asked as the passphrase of that file. */
  tokenUri?: string | undefined
  /** How the token is reached; by the URI alone when left out. */
  tokens?: TokenLibrary
  /** By default what evaluation mode left in the folder. */
  passphrase?: Passphrase | undefined
}

const namePattern = /^[a-z0-9][a-z0-9-]{0,31}$/

/**
 * Makes another offline key in a folder that has some, to take the place of one that was lost or stolen (updates.md 3.5). It may sign
 * nothing until a root or a targets file that names it is published. Gives its halves as `public.json` lists them.
 * Throws Failure `key-folder` when the name is taken.
 */
export async function newKey(options: NewKeyOptions): Promise<PublicPart['keys']> {
  const { name, postQuantum, tokenUri } = options
  const dir = resolve(options.keysDir)
  if (!namePattern.test(name)) {
    throw new Failure('usage', 'A key has a name of lower-case letters, digits and hyphens')
  }
  const published = readPublicPart(dir)
  const files = [keyFileOf(name), pqFileOf(name), tokenFileOf(name)]
  const isTaken =
    published.keys.some((key) => key.name === name) ||
    files.some((file) => existsSync(join(dir, file)))
  if (isTaken) {
    throw new Failure('key-folder', `There is a key ${name} already; keys are never overwritten`, {
      nextStep: 'Choose a name that was never used, such as image-root-4',
    })
  }
  const ask = options.passphrase ?? storedPassphrase(dir)
  if (!ask) throw new Failure('usage', 'A key needs a passphrase, held by a person')
  const holder = newHolderKey(name, postQuantum)
  const passphrase = tokenUri !== undefined && !postQuantum ? '' : await ask(keyFileOf(name))
  const origin = published.evaluation ? 'random' : 'typed'
  const write = (file: string, text: string) => writeNew(join(dir, file), text, 0o600)
  const [own, ...others] = listed(holder)
  const halves = others
  if (tokenUri === undefined) {
    write(keyFileOf(name), exportEncrypted(holder.key, passphrase, origin))
    if (own) halves.unshift(own)
  } else {
    const pin = await ask(tokenFileOf(name))
    const { tufKey } = await makeTokenKey(tokenUri, pin, options.tokens)
    write(tokenFileOf(name), `${tokenUri}\n`)
    halves.unshift({ name, file: tokenFileOf(name), keyid: keyId(tufKey), key: tufKey })
  }
  if (holder.pq) write(pqFileOf(name), exportEncrypted(holder.pq, passphrase, origin))
  const text = JSON.stringify({ ...published, keys: [...published.keys, ...halves] }, null, 2)
  replaceFile(join(dir, publicFile), `${text}\n`, 0o644)
  return halves
}
