import { z } from 'zod'

import { VerificationError } from '../pki/tuf/errors.ts'
import type { TufKey } from '../pki/tuf/keys.ts'
import { openRoot } from '../pki/tuf/repository.ts'
import { ownEntry } from '../pki/tuf/shape.ts'
import type { RootMetadata } from '../pki/tuf/types.ts'
import type { DeviceConfigInput } from './config.ts'
import { DeviceError } from './errors.ts'

const maxBytes = 1_048_576

/** The part of `public.json` of a key folder that is used here. */
const PublicPart = z.object({
  releaseKeys: z
    .array(z.object({ scheme: z.string(), keyval: z.object({ public: z.string().max(4096) }) }))
    .min(2),
})

/**
 * What a maker builds into the firmware of a constrained device: the director's three online keys, from its root, and the first two
 * release keys, which then sign every release of this model. Throws DeviceError `config`.
 */
export function pinsOf({
  directorRoot,
  publicPart,
}: {
  directorRoot: string
  publicPart: string
}): NonNullable<DeviceConfigInput['pins']> {
  const root = readRoot(directorRoot)
  const [release, qa] = releaseKeys(publicPart)
  return {
    directorTargets: onlyKey(root, 'targets'),
    directorSnapshot: onlyKey(root, 'snapshot'),
    directorTimestamp: onlyKey(root, 'timestamp'),
    release: [release, qa],
  }
}

function readRoot(text: string): RootMetadata {
  try {
    return openRoot(text)
  } catch (cause) {
    if (!(cause instanceof VerificationError)) throw cause
    throw mistake('--director-root is not a root of updates', { cause })
  }
}

function onlyKey(
  { keys, roles }: RootMetadata,
  role: 'targets' | 'snapshot' | 'timestamp',
): string {
  const [keyid, ...others] = roles[role].keyids
  const key = others.length === 0 && keyid !== undefined ? ownEntry(keys, keyid) : undefined
  return rawKey(key, `The director's ${role} role has not exactly one Ed25519 key`)
}

function releaseKeys(text: string): [string, string] {
  if (text.length > maxBytes) throw mistake('--release-keys is no public.json of a key folder')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw mistake('--release-keys is no public.json of a key folder', { cause })
  }
  const parsed = PublicPart.safeParse(value)
  if (!parsed.success) throw mistake('--release-keys names fewer than two release keys')
  const [first, second] = parsed.data.releaseKeys
  const wrong = 'A constrained device verifies Ed25519 signatures only'
  return [rawKey(first, wrong), rawKey(second, wrong)]
}

function rawKey(key: Pick<TufKey, 'scheme' | 'keyval'> | undefined, wrong: string): string {
  const raw = key?.keyval.public ?? ''
  if (key?.scheme !== 'ed25519' || !/^[0-9a-f]{64}$/.test(raw)) throw mistake(wrong)
  return raw
}

function mistake(what: string, options?: ErrorOptions): DeviceError {
  return new DeviceError(
    'config',
    what,
    'Give root 1 of the director and public.json of the key folder',
    options,
  )
}
