import { decodeEnvelope } from './envelope.ts'
import { MetadataError, VerificationError } from './errors.ts'
import { limits } from './repository.ts'
import { isObject } from './shape.ts'
import type { Bundle, TrustedState } from './types.ts'
import type { RepositoryName } from './verify.ts'

/** The one message a device gets (updates.md 2.6), as bytes. */
export function encodeBundle({ director, image }: Bundle): Buffer {
  return Buffer.from(JSON.stringify({ director, image }))
}

/**
 * Reads such a message, at most 64 kB, after any decompression (which needs the same cap on its output). The texts
 * inside are not looked at. Throws VerificationError: `endless-data` when too large, `arbitrary` when no bundle.
 */
export function parseBundle(bytes: Buffer): Bundle {
  if (bytes.length > limits.bundle) {
    throw new VerificationError('endless-data', `The bundle is larger than ${limits.bundle}`)
  }
  let value: unknown
  try {
    value = JSON.parse(bytes.toString('utf8'))
  } catch (cause) {
    throw new VerificationError('arbitrary', 'The bundle is not JSON', { cause })
  }
  const { director, image } =
    typeof value === 'object' && value !== null ? ({ ...value } as Record<string, unknown>) : {}
  return { director: readFiles(director), image: readFiles(image) }
}

function readFiles(value: unknown): Record<string, string> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new VerificationError('arbitrary', 'A bundle is {director, image}')
  }
  const files: Record<string, string> = {}
  for (const [name, text] of Object.entries(value)) {
    if (typeof text !== 'string' || !/^[!#-[\]-~]{1,256}$/.test(name) || name === '__proto__') {
      throw new VerificationError('arbitrary', 'A bundle holds texts by file name')
    }
    files[name] = text
  }
  return files
}

/** A new device: the two root files it was made with (updates.md 3.3), and nothing else. */
export function newTrustedState(roots: { director: string; image: string }): TrustedState {
  return {
    director: { root: roots.director, delegated: {} },
    image: { root: roots.image, delegated: {} },
    svn: {},
  }
}

/** Step 12: after a committed update, the counter rises to that of the running image; it never falls. */
export function raiseSvn(state: TrustedState, component: string, svn: number): TrustedState {
  const stored = Object.hasOwn(state.svn, component) ? state.svn[component] : 0
  return { ...state, svn: { ...state.svn, [component]: Math.max(stored ?? 0, svn) } }
}

export type HeldVersions = Record<RepositoryName, Record<string, number>>

/** `have` of a device's `hello`: versions by unversioned file name, `root.json`, `fw-gate-2.json` (updates.md 2.5). */
export function heldVersions({ director, image }: TrustedState): HeldVersions {
  return { director: versionsOf(director), image: versionsOf(image) }
}

function versionsOf({ delegated, ...files }: TrustedState['director']): Record<string, number> {
  const texts = [...Object.entries(files), ...Object.entries(delegated)]
  return Object.fromEntries(
    texts.flatMap(([role, text]) => {
      const version = versionOf(text)
      return version === undefined ? [] : [[`${role}.json`, version]]
    }),
  )
}

/** Only tells the server what not to send; what a held file is worth is decided by verifyBundle. */
function versionOf(text: string | undefined): number | undefined {
  try {
    const { signed } = decodeEnvelope(Buffer.from(text ?? ''), limits.bundle)
    const version = isObject(signed) ? signed['version'] : undefined
    return typeof version === 'number' ? version : undefined
  } catch (error) {
    if (error instanceof MetadataError) return undefined
    throw error
  }
}
