import { DomainError } from '../errors.ts'
import type { Actor } from './access.ts'

/** For so long after a second factor was shown nobody is asked for it again. */
export const stepUpMs = 10 * 60_000

/** Whether a route needs a second factor that was shown lately: always, or for some values of the body's `action`. */
export type StepUp = true | readonly string[]

/**
 * Makes sure that whoever sits at the screen is still the one who signed in, before what cannot be undone. Keys, workloads and certificates have
 * no session, and nobody sits there: they pass.
 *
 * @throws DomainError `step-up-needed`
 */
export function assertStepUp(
  { session }: Pick<Actor, 'session'>,
  { stepUp, body, now }: { stepUp: StepUp | undefined; body: unknown; now: Date },
): void {
  if (!session || stepUp === undefined || !concerns(stepUp, body)) return
  if (now.getTime() - session.provenAt.getTime() < stepUpMs) return
  throw new DomainError(
    'step-up-needed',
    'This needs your second factor again, since it was shown more than 10 minutes ago: show it, then repeat the call',
    { stepUp: '/api/v1/sign-in/step-up' },
  )
}

function concerns(stepUp: StepUp, body: unknown): boolean {
  if (stepUp === true) return true
  const action: unknown =
    typeof body === 'object' && body !== null && 'action' in body ? body.action : undefined
  return typeof action === 'string' && stepUp.includes(action)
}
