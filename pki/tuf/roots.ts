import { VerificationError } from './errors.ts'
import { fleetsealFormat, isEvaluation, limits, must, nextRoot, openRoot } from './repository.ts'
import { ownEntry } from './shape.ts'
import type { Bundle, DeviceFacts, TrustedState } from './types.ts'

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
  { allowEvaluation }: Pick<DeviceFacts, 'allowEvaluation'>,
): TrustedState {
  let state = before
  try {
    for (const name of repositories) {
      let root = openRoot(state[name].root, undefined, fleetsealFormat)
      must(allowEvaluation || !isEvaluation(root), 'evaluation', 'A root for evaluation')
      for (let steps = 0; ; steps += 1) {
        const text = ownEntry(bundle[name], `${root.version + 1}.root.json`)
        if (text === undefined) break
        must(steps < limits.rotations, 'endless-data', 'More root rotations than one run takes')
        const next = nextRoot(root, text, fleetsealFormat)
        state = { ...state, [name]: { ...state[name], root: text } }
        // updates.md 2.5: the replacement of the director's time key undoes what a stolen one did to the time.
        const { keyids } = next.roles.timestamp
        if (name === 'director' && root.roles.timestamp.keyids.some((id) => !keyids.includes(id))) {
          const { timeAt: _, ...rest } = state
          state = rest
        }
        root = next
      }
    }
    must(state !== before, 'freeze', 'There is nothing new in these roots')
    return state
  } catch (error) {
    if (error instanceof VerificationError) error.state = state
    throw error
  }
}
