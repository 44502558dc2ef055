import { rebuildRoot, type RoleSigners, rootSignersIn } from '../../pki/tuf/build.ts'
import { parseStrict } from '../../pki/tuf/json.ts'
import { keyId, type TufKey } from '../../pki/tuf/keys.ts'
import { readRoot } from '../../pki/tuf/read.ts'
import { Failure } from '../failure.ts'
import type { PublicPart } from './key-folder.ts'

/** One holder's key goes, and perhaps another comes; each with its ML-DSA half, where it has one. */
export interface Replacement {
  /** Key ids. */
  retired: string[]
  added: TufKey[]
}

/**
 * What a replacement means in a key folder. `old` is a name or key id, which need not be of this folder; `next` is the name of a key
 * made by `newKey`. Throws Failure `key-folder`.
 */
export function replacementIn(
  { keys }: PublicPart,
  old: string,
  next: string | undefined,
): Replacement {
  const holder = keys.find(({ name, keyid }) => name === old || keyid === old)?.name
  const retired = keys.filter(({ name }) => name === holder || name === `${holder}.pq`)
  if (retired.length === 0 && !/^[0-9a-f]{64}$/.test(old)) {
    throw new Failure('key-folder', `This folder knows no key ${old}`, {
      nextStep: 'Name a key of public.json, or its key id',
    })
  }
  const fresh = keys.filter(({ name }) => name === next || name === `${next}.pq`)
  const added = fresh.flatMap(({ key }) => key ?? [])
  if (next !== undefined && (added.length === 0 || added.length !== fresh.length)) {
    throw new Failure('key-folder', `This folder has no new key ${next}`, {
      nextStep: `Make it: fleetseal sign new-key ${next}`,
    })
  }
  return { retired: retired.length > 0 ? retired.map(({ keyid }) => keyid) : [old], added }
}

export function isPq({ keytype }: TufKey): boolean {
  return keytype === 'ml-dsa'
}

/**
 * The text of a root draft with one key replaced in `role`; its number and expiry stay. Throws Failure `refused` when the role has no such
 * key, or would have too few.
 */
export function replaceInRoot(
  signed: string,
  role: 'root' | 'targets',
  replacement: Replacement,
): string {
  const root = readRoot(parseStrict(Buffer.from(signed), signed.length))
  const signers = rootSignersIn(root)[role]
  const changed: RoleSigners = {
    ...replaced(signers, replacement, role, false),
    ...(signers.pq && { pq: replaced(signers.pq, replacement, role, true) }),
  }
  return rebuildRoot(root, {
    version: root.version,
    expiresAt: new Date(root.expires),
    roles: { [role]: changed },
  }).toString()
}

function replaced(
  { keys, threshold }: Pick<RoleSigners, 'keys' | 'threshold'>,
  { retired, added }: Replacement,
  role: string,
  half: boolean,
): Pick<RoleSigners, 'keys' | 'threshold'> {
  const kept = keys.filter((key) => !retired.includes(keyId(key)))
  const fresh = added.filter((key) => isPq(key) === half)
  if (kept.length === keys.length) {
    throw new Failure('refused', `${role} has no such key`, {
      nextStep: 'fleetseal sign draft shows the keys it has',
    })
  }
  const next = [...kept, ...fresh]
  if (next.length >= threshold) return { keys: next, threshold }
  throw new Failure('refused', `${role} needs ${threshold} keys and would have ${next.length}`, {
    nextStep: 'Make another key and name it as the new one: fleetseal sign new-key NAME',
  })
}
