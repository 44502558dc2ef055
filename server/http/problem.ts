import type { ErrorRequestHandler } from 'express'

import { DomainError, type ErrorCode } from '../errors.ts'
import { problemType } from './problem-help.ts'

export const problems = {
  'invalid-request': [400, 'The request is malformed'],
  'not-authenticated': [401, 'Authentication is required'],
  'not-allowed': [403, 'Not allowed'],
  'step-up-needed': [403, 'A second factor has to be shown again'],
  'not-found': [404, 'Not found'],
  'method-not-allowed': [405, 'This method is not offered here'],
  conflict: [409, 'Something else stands in the way'],
  'illegal-transition': [409, 'Not possible in this state'],
  'approval-needed': [409, 'Others have to agree'],
  'not-ready': [409, 'Something has to be done first'],
  'precondition-failed': [412, 'It is another version now'],
  'too-large': [413, 'Too large'],
  'unsupported-media-type': [415, 'Unsupported media type'],
  'signature-invalid': [422, 'A signature does not verify'],
  'idempotency-mismatch': [422, 'The idempotency key was used for another request'],
  'quota-exhausted': [403, 'The quota is used up'],
  'rate-limited': [429, 'Too many requests'],
  busy: [503, 'Not available now'],
  'storage-full': [507, 'No space left'],
} as const satisfies Record<ErrorCode, readonly [status: number, title: string]>

/** RFC 9457. What is not a DomainError is our bug: logged in full, shown as nothing but a 500. */
export const renderProblem: ErrorRequestHandler = (error, req, res, next) => {
  if (res.headersSent) return next(error)
  const known = asDomainError(error)
  if (!known) res.locals['log']?.error({ err: error, path: req.path }, 'request failed')
  const [status, title] = known ? problems[known.code] : ([500, 'Internal error'] as const)
  // What kept us from answering is for the log, not for the caller.
  if (known?.code === 'busy' && known.cause !== undefined)
    res.locals['log']?.warn({ err: known.cause, path: req.path }, 'request not possible now')
  res.locals['problem'] = known?.code ?? 'internal'
  if (status === 401) res.setHeader('WWW-Authenticate', 'Bearer realm="fleetseal"')
  if (status === 429 || status === 503) {
    const seconds = known?.facts['retryAfterSeconds']
    res.setHeader('Retry-After', typeof seconds === 'number' ? String(seconds) : '5')
  }
  res
    .status(status)
    .type('application/problem+json')
    .json({
      ...known?.facts,
      type: problemType(known?.code ?? 'internal'),
      code: known?.code ?? 'internal',
      title,
      status,
      detail: known?.message,
      requestId: res.locals['requestId'],
    })
}

/** Ours, or an error that Express and its body parser raise for bad JSON, large bodies and bad URLs, or the database's "not this value". */
export function asDomainError(error: unknown): DomainError | undefined {
  if (error instanceof DomainError) return error
  if (!(error instanceof Error)) return undefined
  if ('status' in error) {
    const status = Number(error.status)
    const options = { cause: error }
    if (status === 413) return new DomainError('too-large', 'The body is too large', {}, options)
    if (status === 415) return new DomainError('unsupported-media-type', error.message, {}, options)
    if (status >= 400 && status < 500)
      return new DomainError('invalid-request', error.message, {}, options)
  }
  if ('code' in error) return ofDatabase(String(error.code), error)
  return unavailableWords.test(error.message) ? unavailableNow(error) : undefined
}

/**
 * SQLSTATE classes 08, 53 and 57 (no connection, no room, ended from outside), a lock that could not be had, and a database that takes no
 * changes now (a full disk, a standby).
 */
const unavailable = /^(08|53|57)[0-9A-Z]{3}$|^55P03$|^25P03$|^25006$|^ECONN(REFUSED|RESET)$/
/** What the drivers say without a code when a connection breaks, cannot be had or is not given back. */
const unavailableWords =
  /^(Connection terminated|Client has encountered a connection error|timeout exceeded when trying to connect|The embedded database was busy)/

/**
 * SQLSTATE class 22 (a value that the column cannot hold), the two constraints that a race can break, and a database that cannot
 * do it now.
 */
function ofDatabase(sqlState: string, cause: Error): DomainError | undefined {
  if (/^22[0-9A-Z]{3}$/.test(sqlState)) {
    return new DomainError('invalid-request', 'A value is out of its range', {}, { cause })
  }
  if (sqlState === '23505' || sqlState === '23503') {
    return new DomainError(
      'conflict',
      'Something changed at the same moment; look again',
      {},
      { cause },
    )
  }
  return unavailable.test(sqlState) ? unavailableNow(cause) : undefined
}

function unavailableNow(cause: Error): DomainError {
  return new DomainError('busy', 'The database is not available now: try again', {}, { cause })
}
