import { DomainError } from './errors.ts'

/** Versions of a thing, any of which is fine. Empty: none is. */
export type Versions = readonly number[]

/**
 * Whether a thing is what its caller believes it to be. Whoever asks has locked the row, or compares once more in the statement that changes it.
 *
 * @throws DomainError `precondition-failed`
 */
export function assertVersion(current: number, wanted: Versions | undefined): void {
  if (wanted === undefined || wanted.includes(current)) return
  throw new DomainError(
    'precondition-failed',
    `It is version ${current} now: read it again, and look at what changed`,
    { version: current },
  )
}
