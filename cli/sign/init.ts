import { type KeyObject, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

import { buildRoot, buildTargets, type RoleSigners } from '../../pki/tuf/build.ts'
import { encodeEnvelope, signBytes } from '../../pki/tuf/envelope.ts'
import {
  exportEncrypted,
  generateRoleKey,
  keyId,
  type TufKey,
  tufKeyOf,
} from '../../pki/tuf/keys.ts'
import {
  generatePqKey,
  type PqScheme,
  pqTufKeyOf,
  signPqBytes,
} from '../../pki/tuf/post-quantum.ts'
import { latestExpiry } from '../../pki/tuf/publish-check.ts'
import { Failure } from '../failure.ts'
import { syncDirectory, writeNew } from './files.ts'
import {
  keyFileOf,
  type Passphrase,
  passphraseFile,
  pinnedRootFile,
  pqFileOf,
  publicFile,
  type PublicPart,
} from './key-folder.ts'
import { appendLog, type LogEntry } from './log.ts'
import { sha256Of } from './sha256.ts'

/** Public keys of the roles the server signs online (updates.md 2.2); `GET` them from the server before the ceremony. */
export interface OnlineKeys {
  image: { snapshot: TufKey; timestamp: TufKey }
  director: { targets: TufKey; snapshot: TufKey; timestamp: TufKey }
}

export interface InitOptions {
  /** The new key folder; must not exist. */
  dir: string
  /** Marks both roots as made for evaluation (updates.md 3.6). */
  evaluation: boolean
  /** Asked once for each key file. Without it, in evaluation mode only, one is made and left in the folder. */
  passphrase?: Passphrase
  onlineKeys: OnlineKeys
  /** Every offline key gets an ML-DSA half, and the roots require both for ever (updates.md 10). */
  postQuantum?: PqScheme | undefined
  now: Date
}

const groups = {
  imageRoot: ['image-root-1', 'image-root-2', 'image-root-3'],
  imageTargets: ['image-targets-1', 'image-targets-2', 'image-targets-3'],
  release: ['release', 'qa', 'spare'],
  directorRoot: ['director-root-1', 'director-root-2', 'director-root-3'],
} as const
type Group = keyof typeof groups

/** One person's key: its Ed25519 half and, in a hybrid installation, its ML-DSA half. */
interface HolderKey {
  name: string
  key: KeyObject
  pq?: KeyObject
}
type Keys = Record<Group, HolderKey[]>

/** Of the three keys of every group. */
const threshold = 2

/**
 * The key ceremony (updates.md 3.3): makes every offline key, each in its own encrypted file, and both root 1 files and
 * image targets 1, signed to their thresholds. The folder appears complete or not at all; an existing one is never
 * touched. Gives what is public, which is also `public.json` in the folder.
 */
export async function initKeys(options: InitOptions): Promise<PublicPart> {
  const dir = resolve(options.dir)
  requireAbsent(dir)
  const make = (name: string) => newHolderKey(name, options.postQuantum)
  const keys: Keys = {
    imageRoot: groups.imageRoot.map(make),
    imageTargets: groups.imageTargets.map(make),
    release: groups.release.map(make),
    directorRoot: groups.directorRoot.map(make),
  }
  const made = passphraseOf(options)
  const encrypted = await encryptAll(keys, made)
  const { signed, published } = signFirst(keys, options)

  mkdirSync(dirname(dir), { recursive: true })
  const temporary = mkdtempSync(`${dir}.new-`)
  try {
    for (const [file, text] of encrypted) writeNew(join(temporary, file), text, 0o600)
    if (made.stored !== undefined) {
      writeNew(join(temporary, passphraseFile), `${made.stored}\n`, 0o600)
    }
    writeNew(join(temporary, pinnedRootFile('image')), published.image.root, 0o644)
    writeNew(join(temporary, pinnedRootFile('director')), published.director.root, 0o644)
    writeNew(join(temporary, publicFile), `${JSON.stringify(published, null, 2)}\n`, 0o644)
    for (const entry of signed) appendLog(temporary, entry)
    syncDirectory(temporary)
    requireAbsent(dir)
    renameSync(temporary, dir)
    syncDirectory(dirname(dir))
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true })
    throw error
  }
  return published
}

function requireAbsent(dir: string): void {
  if (!existsSync(dir)) return
  throw new Failure('key-folder', `${dir} exists already; a key folder is never overwritten`, {
    nextStep:
      'Name another folder, or move this one away if you are sure that nothing uses its keys',
  })
}

function passphraseOf({ passphrase, evaluation }: InitOptions): {
  passphrase: Passphrase
  stored?: string
} {
  if (passphrase) return { passphrase }
  if (!evaluation) {
    throw new Failure('usage', 'Production keys need a passphrase each, held by a person')
  }
  const stored = randomBytes(24).toString('base64url')
  return { passphrase: () => stored, stored }
}

async function encryptAll(
  keys: Keys,
  { passphrase, stored }: ReturnType<typeof passphraseOf>,
): Promise<Map<string, string>> {
  const origin = stored === undefined ? 'typed' : 'random'
  const files = new Map<string, string>()
  for (const { name, key, pq } of holdersOf(keys)) {
    const typed = await passphrase(keyFileOf(name))
    files.set(keyFileOf(name), exportEncrypted(key, typed, origin))
    if (pq) files.set(pqFileOf(name), exportEncrypted(pq, typed, origin))
  }
  return files
}

export function newHolderKey(name: string, scheme: PqScheme | undefined): HolderKey {
  return { name, key: generateRoleKey(), ...(scheme && { pq: generatePqKey(scheme) }) }
}

function holdersOf(keys: Keys): HolderKey[] {
  return (Object.keys(groups) as Group[]).flatMap((group) => keys[group])
}

/** What `public.json` says of a holder's key. */
export function listed({ name, key, pq }: HolderKey): PublicPart['keys'] {
  const half = tufKeyOf(key)
  const first = { name, file: keyFileOf(name), keyid: keyId(half), key: half }
  if (!pq) return [first]
  const other = pqTufKeyOf(pq)
  return [first, { name: `${name}.pq`, file: pqFileOf(name), keyid: keyId(other), key: other }]
}

function signers(holders: readonly HolderKey[]): RoleSigners {
  const pq = holders.flatMap((holder) => holder.pq ?? [])
  return {
    keys: holders.map(({ key }) => tufKeyOf(key)),
    threshold,
    ...(pq.length > 0 && { pq: { keys: pq.map(pqTufKeyOf), threshold } }),
  }
}

function online(key: TufKey): RoleSigners {
  return { keys: [key], threshold: 1 }
}

/** The three files of the beginning, and the log's word that they were signed. */
function signFirst(
  keys: Keys,
  { evaluation, onlineKeys: { image, director }, postQuantum, now }: InitOptions,
): { signed: LogEntry[]; published: PublicPart } {
  const pqRequired = postQuantum !== undefined
  const root = { version: 1, expiresAt: latestExpiry('root', now), evaluation, pqRequired }
  const imageRoot = buildRoot({
    ...root,
    roles: {
      root: signers(keys.imageRoot),
      targets: signers(keys.imageTargets),
      snapshot: online(image.snapshot),
      timestamp: online(image.timestamp),
    },
  })
  const directorRoot = buildRoot({
    ...root,
    roles: {
      root: signers(keys.directorRoot),
      targets: online(director.targets),
      snapshot: online(director.snapshot),
      timestamp: online(director.timestamp),
    },
  })
  // No model is known yet: the server drafts the delegation when the first one is registered.
  const expiresAt = latestExpiry('targets', now)
  const targets = buildTargets({ version: 1, expiresAt, delegations: [] })
  const files = [
    signFile(imageRoot, { repository: 'image', role: 'root', keys: keys.imageRoot, now }),
    signFile(targets, { repository: 'image', role: 'targets', keys: keys.imageTargets, now }),
    signFile(directorRoot, { repository: 'director', role: 'root', keys: keys.directorRoot, now }),
  ] as const
  const published: PublicPart = {
    evaluation,
    image: { root: files[0].text, targets: files[1].text },
    director: { root: files[2].text },
    releaseKeys: keys.release.map(({ key }) => tufKeyOf(key)),
    ...(postQuantum && {
      releasePqKeys: keys.release.flatMap(({ pq }) => (pq ? [pqTufKeyOf(pq)] : [])),
    }),
    targetsKeys: keys.imageTargets.map(({ key }) => tufKeyOf(key)),
    keys: holdersOf(keys).flatMap(listed),
  }
  return { signed: files.map(({ entry }) => entry), published }
}

function signFile(
  signed: Buffer,
  by: Pick<LogEntry, 'repository' | 'role'> & { keys: readonly HolderKey[]; now: Date },
): { text: string; entry: LogEntry } {
  const { repository, role, keys, now } = by
  const holders = keys.slice(0, threshold)
  const signatures = holders.map(({ key }) => signBytes(signed, key))
  const pqSignatures = holders.flatMap(({ pq }) => (pq ? [signPqBytes(signed, pq)] : []))
  const entry = {
    at: now.toISOString(),
    repository,
    role,
    version: 1,
    signedSha256: sha256Of(signed),
    keyids: [...signatures, ...pqSignatures].map(({ keyid }) => keyid),
  }
  return { text: encodeEnvelope(signed, signatures, pqSignatures).toString(), entry }
}
