/**
 * Every way this system refuses a request. Codes are public and never change meaning;
 * how a code looks on the wire is decided at the edges (http/problem.ts, http/est-error.ts, mqtt/).
 */
export const errorCodes = [
  'invalid-request',
  'not-authenticated',
  'not-allowed',
  'step-up-needed',
  'approval-needed',
  'not-found',
  'conflict',
  'illegal-transition',
  'signature-invalid',
  'not-ready',
  'quota-exhausted',
  'rate-limited',
  'too-large',
  'unsupported-media-type',
  'method-not-allowed',
  'idempotency-mismatch',
  'precondition-failed',
  'storage-full',
  'busy',
] as const
export type ErrorCode = (typeof errorCodes)[number]

export class DomainError extends Error {
  override readonly name = 'DomainError'
  readonly code: ErrorCode
  /** Safe to show to the caller: identifiers and states, never secrets or SQL. */
  readonly facts: Readonly<Record<string, unknown>>

  constructor(
    code: ErrorCode,
    message: string,
    facts: Record<string, unknown> = {},
    options?: ErrorOptions,
  ) {
    super(message, options)
    this.code = code
    this.facts = facts
  }
}
