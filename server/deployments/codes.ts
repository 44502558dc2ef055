import type { AttackCode } from '../../pki/tuf/errors.ts'
import { attackCodes } from '../protocol/attack-codes.ts'

// A code added to the verifier does not compile until it is added there.
attackCodes satisfies Readonly<Record<AttackCode, true>>

/** Is this the code of an update that the device took for an attack (updates.md §4)? Such a one is not tried again. */
export function isAttackCode(code: string | null | undefined): boolean {
  return typeof code === 'string' && Object.hasOwn(attackCodes, code)
}

/** Of what the owner, or the device itself, has decided for good: another try would end in the same. */
const decidedCodes: ReadonlySet<string> = new Set(['declined', 'incompatible'])

/** Does a failed try with this code end the deployment (rollouts.md §7)? */
export function isFinalCode(code: string | null | undefined): boolean {
  return isAttackCode(code) || (typeof code === 'string' && decidedCodes.has(code))
}

/** Tries of one deployment, the last one included (rollouts.md §7). */
export const maxAttempts = 5
