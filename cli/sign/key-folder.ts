import type { KeyObject } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'

import { z } from 'zod'

import { signBytes } from '../../pki/tuf/envelope.ts'
import { MetadataError } from '../../pki/tuf/errors.ts'
import { importEncrypted, keyId, type TufKey, tufKeyOf } from '../../pki/tuf/keys.ts'
import { isPqKey, pqTufKeyOf, signPqBytes } from '../../pki/tuf/post-quantum.ts'
import type { Signature } from '../../pki/tuf/types.ts'
import { Failure } from '../failure.ts'
import { readSmall } from './files.ts'
import { isTokenFile, openTokenKey, type TokenKey, type TokenLibrary } from './token-key.ts'

export type Repository = 'image' | 'director'

const PublicKey = z.object({
  keytype: z.string().max(64),
  scheme: z.string().max(64),
  keyval: z.object({ public: z.string().max(4096) }),
})

/** What leaves a key folder for the server and the devices: `public.json`. No secret is in it. */
export const PublicPart = z.object({
  evaluation: z.boolean(),
  image: z.object({ root: z.string(), targets: z.string() }),
  director: z.object({ root: z.string() }),
  releaseKeys: z.array(PublicKey).max(64),
  /** The ML-DSA halves of the release keys, in the same order; absent in an installation that is not hybrid. */
  releasePqKeys: z.array(PublicKey).max(64).optional(),
  targetsKeys: z.array(PublicKey).max(64),
  /** Which file holds which key; the key id is the fingerprint to compare by voice. */
  keys: z
    .array(
      z.object({
        name: z.string(),
        file: z.string(),
        keyid: z.string(),
        /** Its public half; folders made by version 0.1.0 do not have it. */
        key: PublicKey.optional(),
      }),
    )
    .max(256),
})
export type PublicPart = z.infer<typeof PublicPart>

export const publicFile = 'public.json'
export const passphraseFile = 'passphrase'

export function keyFileOf(name: string): string {
  return `${name}.pem`
}

/** The ML-DSA half of the key, under the same passphrase. */
export function pqFileOf(name: string): string {
  return `${name}.pq.pem`
}

/** Says in which token the key is. */
export function tokenFileOf(name: string): string {
  return `${name}.pkcs11`
}

/** One passphrase opens both halves of a key, but for a token's PIN. */
function holderOf(file: string): string {
  return file.replace(/\.pq\.pem$/, '.pem')
}

/** A holder's files: whoever names one means all. */
function stemOf(file: string): string {
  return file.replace(/(?:\.pq)?\.pem$|\.pkcs11$/, '')
}

export function pinnedRootFile(repository: Repository): string {
  return `${repository}.1.root.json`
}

/** Gives the passphrase of one key file; asked once for each. */
export type Passphrase = (keyFile: string) => string | Promise<string>

/** The root 1 this folder was made with: what every draft is judged from. */
export function pinnedRoot(keysDir: string, repository: Repository): string {
  const text = readSmall(join(keysDir, pinnedRootFile(repository)), 65_536)
  if (text === undefined) {
    throw new Failure('key-folder', `${keysDir} has no ${pinnedRootFile(repository)}`, {
      nextStep:
        'Copy the first root file of the repository into the key folder, from a source you trust',
    })
  }
  return text
}

export function readPublicPart(keysDir: string): PublicPart {
  const text = readSmall(join(keysDir, publicFile), 1024 * 1024)
  if (text === undefined) throw new Failure('key-folder', `${keysDir} has no ${publicFile}`)
  try {
    return PublicPart.parse(JSON.parse(text))
  } catch (cause) {
    throw new Failure('key-folder', `${publicFile} in ${keysDir} is damaged`, { cause })
  }
}

/** Key files of this folder whose key may sign: by `public.json`, so no passphrase is asked for the others. */
export function keyFilesFor(keysDir: string, keyids: readonly string[]): string[] {
  const present = new Set(readdirSync(keysDir))
  return readPublicPart(keysDir)
    .keys.filter(({ keyid, file }) => keyids.includes(keyid) && present.has(file))
    .map(({ file }) => file)
}

/** The passphrase that evaluation mode left beside its keys; undefined in a folder of production keys. */
export function storedPassphrase(keysDir: string): Passphrase | undefined {
  const text = readSmall(join(keysDir, passphraseFile), 4096)
  return text === undefined ? undefined : () => text.trimEnd()
}

/** Named key files with their other halves, where the folder has them. */
export function withHalves(keysDir: string, files: readonly string[]): string[] {
  const known = readPublicPart(keysDir).keys
  const present = new Set(readdirSync(keysDir))
  const stems = files.map(stemOf)
  const halves = known.flatMap(({ file }) =>
    !files.includes(file) && stems.includes(stemOf(file)) && present.has(file) ? [file] : [],
  )
  return [...files, ...halves]
}

export interface OpenedKey {
  file: string
  tufKey: TufKey
  keyid: string
  /** ML-DSA: signs beside the Ed25519 key of the same holder. */
  isPq: boolean
  /** Signs canonical bytes. */
  sign: (signed: Buffer) => Promise<Signature>
}

/**
 * Opens key files, named relative to the folder; of a key in a token the passphrase is its PIN. All or none: a wrong one is a Failure
 * before anything is signed.
 */
export async function openKeys(
  keysDir: string,
  files: readonly string[],
  passphrase: Passphrase,
  library: TokenLibrary = {},
): Promise<OpenedKey[]> {
  const opened: OpenedKey[] = []
  const typed = new Map<string, string>()
  for (const file of files) {
    const text = readSmall(isAbsolute(file) ? file : join(keysDir, file), 16_384)
    if (text === undefined) throw new Failure('key-folder', `There is no key file ${file}`)
    const holder = holderOf(file)
    const secret = typed.get(holder) ?? (await passphrase(holder))
    typed.set(holder, secret)
    opened.push(
      isTokenFile(file)
        ? inToken(file, await openTokenKey(text, secret, library))
        : inMemory(file, openKey(text, { file, passphrase: secret })),
    )
  }
  return opened
}

function inMemory(file: string, key: KeyObject): OpenedKey {
  const isPq = isPqKey(key)
  const tufKey = isPq ? pqTufKeyOf(key) : tufKeyOf(key)
  const sign = async (signed: Buffer): Promise<Signature> =>
    await Promise.resolve(isPq ? signPqBytes(signed, key) : signBytes(signed, key))
  return { file, tufKey, keyid: keyId(tufKey), isPq, sign }
}

function inToken(file: string, { tufKey, sign }: TokenKey): OpenedKey {
  const keyid = keyId(tufKey)
  return {
    file,
    tufKey,
    keyid,
    isPq: false,
    sign: async (signed) => ({ keyid, sig: (await sign(signed)).toString('hex') }),
  }
}

function openKey(
  text: string,
  { file, passphrase }: { file: string; passphrase: string },
): KeyObject {
  try {
    return importEncrypted(text, passphrase)
  } catch (cause) {
    if (!(cause instanceof MetadataError)) throw cause
    throw new Failure('passphrase', `${file}: ${cause.message}`, { cause })
  }
}
