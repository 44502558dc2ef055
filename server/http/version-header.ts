import type { Request, Response } from 'express'

import { DomainError } from '../errors.ts'
import type { Versions } from '../version.ts'

const maxTags = 10
const tag = /^(W\/)?"([\x21\x23-\x7e]{0,64})"$/

/**
 * `If-Match` (RFC 9110 §13.1.1). Undefined without one, and for `*`: what does not exist is not found anyway. A weak tag, and one that is not ours, matches nothing.
 *
 * @throws DomainError `invalid-request`
 */
export function wantedVersions(header: string | undefined): Versions | undefined {
  if (header === undefined || header.trim() === '*') return undefined
  return tagsOf('If-Match', header)
    .filter(({ isWeak }) => !isWeak)
    .map(({ version }) => version)
}

/** Sends the `ETag` of what has a `version`; and that it is what the caller has, in place of it. Returns whether that was all. */
export function answerVersion(req: Request, res: Response, result: unknown): boolean {
  if (typeof result !== 'object' || result === null || !('version' in result)) return false
  const { version } = result
  res.setHeader('ETag', `"${String(version)}"`)
  const known = req.method === 'GET' || req.method === 'HEAD' ? req.get('if-none-match') : undefined
  if (known === undefined) return false
  const same =
    known.trim() === '*' || tagsOf('If-None-Match', known).some((one) => one.version === version)
  if (same) res.status(304).end()
  return same
}

function tagsOf(name: string, header: string): { version: number; isWeak: boolean }[] {
  const texts = header.split(',', maxTags + 1).map((text) => text.trim())
  const parsed = texts.map((text) => tag.exec(text))
  if (texts.length > maxTags || parsed.includes(null)) {
    throw new DomainError(
      'invalid-request',
      `${name} holds at most ${maxTags} entity tags, like "7", or *`,
      { issues: [{ at: name.toLowerCase(), message: 'not entity tags' }] },
    )
  }
  return parsed.map((match) => ({
    isWeak: match?.[1] !== undefined,
    version: /^\d{1,15}$/.test(match?.[2] ?? '') ? Number(match?.[2]) : Number.NaN,
  }))
}
