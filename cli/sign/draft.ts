import { z } from 'zod'

import { canonicalize } from '../../pki/tuf/canonical.ts'
import { MetadataError } from '../../pki/tuf/errors.ts'
import { parseStrict } from '../../pki/tuf/json.ts'
import { readRoot, readTargets } from '../../pki/tuf/read.ts'
import type { RootMetadata, TargetsMetadata } from '../../pki/tuf/types.ts'
import { Failure } from '../failure.ts'
import { sha256Of } from './sha256.ts'

const text = z.string().max(65_536)

/** What the server gives to be signed (updates.md 3.1): everything an offline machine needs to judge it. */
export const Draft = z.strictObject({
  repository: z.enum(['image', 'director']),
  role: z.string().regex(/^(?:root|targets|(?:fw|cfg)-[a-z0-9][a-z0-9-]{0,31})$/),
  version: z.int().min(1),
  expires: z.string().max(20),
  /** The canonical text that signatures are over, and its SHA-256 in lower hex. */
  signed: text,
  signedSha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** Envelope of the version published last; absent for the first. */
  previous: text.optional(),
  /** Envelopes of the repository's roots, oldest first. */
  rootChain: z.array(text).max(1024),
  /** Envelope of the image targets published now, which delegate to the role. */
  targets: text.optional(),
})
export type Draft = z.infer<typeof Draft>

const maxDraftBytes = 16 * 1024 * 1024

/** Reads a draft file. Throws Failure `draft` when it is not one, or its text, hash, version and expiry disagree. */
export function readDraft(bytes: Buffer): Draft {
  if (bytes.length > maxDraftBytes) throw damaged(`larger than ${maxDraftBytes} bytes`)
  let value: unknown
  try {
    value = JSON.parse(bytes.toString('utf8'))
  } catch {
    throw damaged('not JSON')
  }
  const { data: draft, error } = Draft.safeParse(value)
  if (!draft) throw damaged(z.prettifyError(error))
  requireConsistent(draft)
  return draft
}

/** What is shown must be what is signed: the text is canonical, and its hash, version and expiry are those announced. */
export function requireConsistent(draft: Draft): void {
  const signed = Buffer.from(draft.signed)
  if (sha256Of(signed) !== draft.signedSha256) throw damaged('its SHA-256 is not that of its text')
  const { version, expires } = readSigned(signed, draft.role)
  if (version !== draft.version) throw damaged(`its text is of version ${version}`)
  if (expires !== draft.expires) throw damaged(`its text expires at ${expires}`)
}

function readSigned(signed: Buffer, role: string): RootMetadata | TargetsMetadata {
  try {
    const value = parseStrict(signed, signed.length)
    if (!canonicalize(value).equals(signed)) throw damaged('its text is not canonical')
    return role === 'root' ? readRoot(value) : readTargets(value)
  } catch (error) {
    if (error instanceof MetadataError) throw damaged(error.message)
    throw error
  }
}

function damaged(what: string): Failure {
  return new Failure('draft', `This draft cannot be signed: ${what}`)
}
