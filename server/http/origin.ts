import type { Request } from 'express'

import { DomainError } from '../errors.ts'

/**
 * A page of another origin may not read what lasts (CVE-2022-29555). What is no browser sends no `Origin`, and passes; the
 * API key is asked for all the same.
 *
 * @throws DomainError `not-allowed`
 */
export function assertSameOrigin(req: Request): void {
  const origin = req.get('origin')
  const isForeign =
    (origin !== undefined && URL.parse(origin)?.host !== req.get('host')?.toLowerCase()) ||
    ['cross-site', 'same-site'].includes(req.get('sec-fetch-site') ?? '')
  if (!isForeign) return
  const message = 'A page of another origin may not watch: open one of this server'
  throw new DomainError('not-allowed', message)
}
