import type { DeploymentState } from '../protocol/deployment.ts'

/**
 * Renewals of certificates are deployments too, with states of the same names (rollouts.md §2, kind `certificate`). No release can have
 * this component: names of components have no colon.
 */
export const certificateComponent = 'fleetseal:certificate'

/** What is known about a device that is to renew: from its certificates, never from its word. */
export interface CertificateFacts {
  /** It was issued what the rollout is for. */
  isIssued: boolean
  /** And has used it in a connection. */
  isUsed: boolean
  /** It renewed, and uses, something else: renewing again would bring the same. */
  isAstray: boolean
}

/** `queued`: to be told. `accepted`: told. `testing`: issued, not used yet. */
const path = ['queued', 'accepted', 'testing', 'succeeded'] as const satisfies DeploymentState[]

/** May still be told, issued or refused something. */
export const renewingStates = ['queued', 'accepted'] as const satisfies readonly DeploymentState[]
/** Whatever was said before, a certificate in use is a success. */
export const reversibleStates = [
  'lost',
  'failed_final',
] as const satisfies readonly DeploymentState[]

/**
 * The states that a renewal goes through because of what is known, the last one its state then; `[]` when nothing changes. A state that
 * is over changes only by proof.
 */
export function certificateSteps(
  from: DeploymentState,
  { isIssued, isUsed, isAstray }: CertificateFacts,
): DeploymentState[] {
  if (isUsed && (reversibleStates as readonly DeploymentState[]).includes(from))
    return ['succeeded']
  const at = (path as readonly DeploymentState[]).indexOf(from)
  if (at < 0 || from === 'succeeded') return []
  if (isUsed) return path.slice(at + 1)
  if (isIssued) return path.slice(at + 1, path.indexOf('testing') + 1)
  return isAstray ? ['failed_final'] : []
}
