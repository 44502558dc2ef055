import type { ErrorRequestHandler, Response } from 'express'

import { certsOnly } from '../../pki/cms/certs-only.ts'
import { toBase64Lines } from '../../pki/est/base64-lines.ts'
import { DomainError } from '../errors.ts'
import { asDomainError, problems } from '../http/problem.ts'

/** Bodies above this are refused before anything looks at them (pki.md section 8). */
export const maxEstBodyBytes = 65_536

const armor =
  /^\s*-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([^-]*)-----END (?:NEW )?CERTIFICATE REQUEST-----\s*$/

/**
 * The DER in an EST request body: base64 (RFC 8951 §3), whatever Content-Transfer-Encoding says. Line breaks, blanks, PEM
 * armor and missing padding are tolerated; any other character is not.
 *
 * @throws DomainError `invalid-request`
 */
export function decodeEstBody(body: Buffer): Buffer {
  const text = body.toString('latin1')
  const base64 = (armor.exec(text)?.[1] ?? text).replaceAll(/[\r\n\t ]/g, '')
  if (base64 === '') {
    throw new DomainError(
      'invalid-request',
      'The body is empty: send a certificate request in base64',
    )
  }
  const der = Buffer.from(base64, 'base64')
  const unpadded = (text64: string) => text64.replace(/={0,2}$/, '')
  // Buffer skips what it does not know; writing it back shows whether anything was skipped.
  if (unpadded(der.toString('base64')) !== unpadded(base64)) {
    throw new DomainError('invalid-request', 'The body is not base64')
  }
  return der
}

/** Certificates as EST clients want them: a certs-only message, base64 in lines of 64, with Content-Length. */
export function sendCertificates(
  res: Response,
  certificates: readonly Buffer[],
  contentType: 'application/pkcs7-mime' | 'application/pkcs7-mime; smime-type=certs-only',
): void {
  sendBase64(res, certsOnly(certificates), contentType)
}

/** DER in base64, with Content-Length. */
export function sendBase64(res: Response, der: Buffer, contentType: string): void {
  res.setHeader('Content-Transfer-Encoding', 'base64')
  sendBody(res, Buffer.from(toBase64Lines(der), 'latin1'), contentType)
}

/** Not `res.send`, which would add a charset: some clients compare the type as text. */
export function sendBody(res: Response, body: Buffer, contentType: string): void {
  res.statusCode = 200
  res.setHeader('Content-Type', contentType)
  res.setHeader('Content-Length', body.length)
  res.end(res.req.method === 'HEAD' ? undefined : body)
}

/** When the device should renew the certificate in this answer, RFC 3339. A hint, beside what RFC 7030 knows. */
export const renewAtHeader = 'Fleetseal-Renew-At'

/** A short reason as plain text (pki.md section 8): nothing an EST client could take for certificates. */
export const renderEstError: ErrorRequestHandler = (error, req, res, next) => {
  if (res.headersSent) return next(error)
  const known = asDomainError(error)
  if (!known) res.locals['log']?.error({ err: error }, 'EST request failed')
  const status = statusOf(known)
  res.locals['problem'] = known?.code ?? 'internal'
  if (status === 401) res.setHeader('WWW-Authenticate', 'Basic realm="fleetseal", charset="UTF-8"')
  if (status === 429) res.setHeader('Retry-After', '60')
  if (status === 503) res.setHeader('Retry-After', '5')
  const waitSeconds = known?.facts['retryAfterSeconds']
  if (typeof waitSeconds === 'number') res.setHeader('Retry-After', String(waitSeconds))
  // What was not read of the body must not be taken for the next request.
  if (!req.complete) res.setHeader('Connection', 'close')
  const body = Buffer.from(`${known?.message ?? 'Internal error'}\n`, 'utf8')
  res.statusCode = status
  res.setHeader('Content-Type', 'text/plain; charset=utf-8')
  res.setHeader('Content-Length', body.length)
  res.end(req.method === 'HEAD' ? undefined : body)
}

/** RFC 7030 §4.2.3: what waits for a decision is no error to a device, it asks again. */
function statusOf(error: DomainError | undefined): number {
  if (!error) return 500
  const isWaiting = error.code === 'not-ready' && 'retryAfterSeconds' in error.facts
  return isWaiting ? 202 : problems[error.code][0]
}

/**
 * The credentials of HTTP Basic (RFC 7617): the user name may be empty, the password is everything after the first colon.
 * Undefined when there are none.
 *
 * @throws DomainError `not-authenticated` for another scheme or malformed credentials
 */
export function basicCredentials(
  authorization: string | undefined,
): { user: string; password: string } | undefined {
  if (authorization === undefined) return undefined
  const [, base64] = /^Basic +([A-Za-z0-9+/]{1,1024}={0,2})$/i.exec(authorization) ?? []
  const text = base64 === undefined ? '' : Buffer.from(base64, 'base64').toString('utf8')
  const colon = text.indexOf(':')
  if (colon < 0) {
    throw new DomainError('not-authenticated', 'Use HTTP Basic with the profile and its token')
  }
  return { user: text.slice(0, colon), password: text.slice(colon + 1) }
}
