import type { TrustedState } from './types.ts'

/** What a refused update looks like from outside; the names of updates.md section 4. They never change meaning. */
export type AttackCode =
  | 'arbitrary'
  | 'rollback'
  | 'freeze'
  | 'clock'
  | 'mix-and-match'
  | 'wrong-device'
  | 'wrong-hardware'
  | 'dependency'
  | 'partial-bundle'
  | 'endless-data'
  | 'slow'
  | 'hash'
  | 'evaluation'
  /** The transparency log forks, shrinks or is held back. */
  | 'log'

/** A device refuses what it was sent. Nothing is installed. */
export class VerificationError extends Error {
  override readonly name = 'VerificationError'
  readonly code: AttackCode
  /** What had been verified, and may be kept, before the refusal. Set by verifyBundle. */
  state?: TrustedState
  /** Name of a file that is listed and was neither sent nor held; whoever can fetch it may try again. */
  readonly missing: string | undefined

  constructor(code: AttackCode, message: string, options?: ErrorOptions & { missing?: string }) {
    super(message, options)
    this.code = code
    this.missing = options?.missing
  }
}

export type MetadataFault = 'too-large' | 'too-deep' | 'syntax' | 'shape' | 'signatures' | 'key'

/** Bytes or values that are not metadata by updates.md 2.1, whoever made them. */
export class MetadataError extends Error {
  override readonly name = 'MetadataError'
  readonly fault: MetadataFault

  constructor(fault: MetadataFault, message: string, options?: ErrorOptions) {
    super(message, options)
    this.fault = fault
  }
}
