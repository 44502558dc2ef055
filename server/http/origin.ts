import type { Request } from 'express'

import { DomainError } from '../errors.ts'

/**
 * A page of another origin may not read what lasts (CVE-2022-29555). What is no browser sends no `Origin`, and passes; the
 * API key is asked for all the same.
 *
 * @throws DomainError `not-allowed`
 */
export function assertSameOrigin(req: Request, config: { publicUrl: string }): void {
  const isOwn = req.get('origin') === undefined || isOurs(req, config)
  if (isOwn && !isFromElsewhere(req)) return
  const message = 'A page of another origin may not watch: open one of this server'
  throw new DomainError('not-allowed', message)
}

/** The name of a header that no form and no link can send, and that a script of another page cannot send without asking this server first. */
export const ownPageHeader = 'x-fleetseal-request'

/**
 * What a browser sends by itself (a cookie, a certificate of its own) proves who sits there, not who wants it. A change needs two more things: the
 * header `X-Fleetseal-Request: 1`, which makes a browser ask first before a foreign page may send it, and that is never allowed; and an `Origin` that is
 * this server's, which browsers send with every such request and no page can forge.
 *
 * @throws DomainError `not-allowed`
 */
export function assertOwnPage(req: Request, config: { publicUrl: string }): void {
  if (isOurs(req, config) && !isFromElsewhere(req) && req.get(ownPageHeader) === '1') return
  throw new DomainError(
    'not-allowed',
    'A change by somebody who is signed in comes from a page of this server: send Origin and X-Fleetseal-Request: 1',
  )
}

/** The host that was asked, or, where a proxy asks under another name, the one that people see. */
function isOurs(req: Request, { publicUrl }: { publicUrl: string }): boolean {
  const origin = req.get('origin')
  const host = origin === undefined ? undefined : URL.parse(origin)?.host
  return host !== undefined && (host === req.get('host')?.toLowerCase() || origin === publicUrl)
}

function isFromElsewhere(req: Request): boolean {
  return ['cross-site', 'same-site'].includes(req.get('sec-fetch-site') ?? '')
}
