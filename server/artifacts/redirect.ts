import type { Request, Response } from 'express'

import type { Selection } from './range.ts'

/** RFC 7240 section 2: a preference that a server does not know is ignored, so any server may be sent it. */
export const redirectPreference = 'respond-redirect'

const conditions = [
  'if-range',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
]

/**
 * Only who says that it follows is sent to the store: others may know neither its name nor the authority of its certificate. A
 * client repeats its headers there (RFC 9110 section 15.4), so what the store would understand otherwise than this
 * server is answered here: tags and dates, which it has others of, several ranges, which it does not send, and `HEAD`,
 * which a link for `GET` does not allow.
 */
export function mayRedirect(req: Request, part: Selection): boolean {
  if (req.method !== 'GET' || !prefersRedirect(req.get('prefer'))) return false
  const isPlain = conditions.every((name) => req.get(name) === undefined)
  return isPlain && (part.kind === 'part' || req.get('range') === undefined)
}

/** Whether it was answered: 307, so that the method stays what it was. Never kept: the next request is judged anew. */
export async function redirect(res: Response, link: () => Promise<string>): Promise<boolean> {
  let to: string
  try {
    to = await link()
  } catch {
    return false
  }
  res.status(307).set({
    Location: to,
    'Cache-Control': 'no-store',
    'Preference-Applied': redirectPreference,
    'Referrer-Policy': 'no-referrer',
    Vary: 'Prefer',
  })
  res.end()
  return true
}

function prefersRedirect(header: string | undefined): boolean {
  return (
    header
      ?.split(',')
      .some((one) => one.split(';')[0]?.trim().toLowerCase() === redirectPreference) ?? false
  )
}
