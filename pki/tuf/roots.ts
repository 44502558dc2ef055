import { VerificationError } from './errors.ts'
import { fleetsealFormat, must } from './repository.ts'
import type { Bundle, DeviceFacts, TrustedState } from './types.ts'
import { followRoots, type Run } from './verify.ts'

/*
 * Roots ahead of the rest. A device that missed some rotations, above all of hybrid roots, lacks more than one bundle holds: then it gets
 * roots alone, follows them, and asks again. What a root needs to be believed is in the chain (TUF 1.0.34 section 5.3); no time, nonce
 * or other file is.
 */

const repositories = ['director', 'image'] as const
const rootFile = /^[1-9][0-9]{0,9}\.root\.json$/

/** A bundle of roots and nothing else. */
export function isRootsOnly({ director, image }: Bundle): boolean {
  const names = [...Object.keys(director), ...Object.keys(image)]
  return names.length > 0 && names.every((name) => rootFile.test(name))
}

/**
 * Follows the roots of such a bundle as `verifyBundle` would. Pure: persist the state, then ask the server again. Throws VerificationError with
 * `state`, which holds the links before the one that was refused; `freeze` when there is nothing new, since then asking again is no use.
 */
export function takeRoots(
  before: TrustedState,
  bundle: Bundle,
  device: Pick<DeviceFacts, 'allowEvaluation'>,
): TrustedState {
  const run: Run = { state: before, bundle, device, format: fleetsealFormat, time: '' }
  try {
    for (const name of repositories) followRoots(run, name)
    must(run.state !== before, 'freeze', 'There is nothing new in these roots')
    return run.state
  } catch (error) {
    if (error instanceof VerificationError) error.state = run.state
    throw error
  }
}
