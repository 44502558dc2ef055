import type { Response } from 'express'

import { DomainError } from '../errors.ts'
import type { Versions } from '../version.ts'

/** The field of an answer that names its version. */
export type VersionField = 'version' | 'definitionHash' | 'revision'

const maxTags = 10
const tag = /^(W\/)?"([\x21\x23-\x7e]{0,64})"$/

/**
 * `If-Match` (RFC 9110 §13.1.1). Undefined without one, and for `*`: what does not exist is not found anyway. A weak tag matches nothing.
 *
 * @throws DomainError `invalid-request`
 */
export function wantedVersions(header: string | undefined): Versions | undefined {
  if (header === undefined || header.trim() === '*') return undefined
  const texts = header.split(',', maxTags + 1).map((text) => text.trim())
  const parsed = texts.map((text) => tag.exec(text))
  if (texts.length > maxTags || parsed.includes(null)) {
    throw new DomainError(
      'invalid-request',
      `If-Match holds at most ${maxTags} entity tags, like "7", or *`,
      { issues: [{ at: 'if-match', message: 'not entity tags' }] },
    )
  }
  return parsed.flatMap((match) => (match?.[1] === undefined ? [match?.[2] ?? ''] : []))
}

/** Sends the version of what is answered as its `ETag`. */
export function sendVersion(res: Response, result: unknown, field: VersionField): void {
  const version: unknown =
    typeof result === 'object' && result !== null ? Reflect.get(result, field) : undefined
  if (typeof version === 'string' || typeof version === 'number') {
    res.setHeader('ETag', `"${version}"`)
  }
}
