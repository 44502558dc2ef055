/** Key algorithms a device may have, by the names of pki/algorithms.ts (a test holds the two together). */
export const keyAlgorithms = [
  'P-256',
  'P-384',
  'Ed25519',
  'RSA-2048',
  'RSA-3072',
  'RSA-4096',
  'ML-DSA-44',
  'ML-DSA-65',
  'ML-DSA-87',
] as const

/** What stands in the place of a label in EST paths, so that no profile may be called so (RFC 7030 §3.2.2). */
export const estOperations = [
  'cacerts',
  'simpleenroll',
  'simplereenroll',
  'csrattrs',
  'serverkeygen',
  'fullcmc',
] as const
export type EstOperation = (typeof estOperations)[number]

/** A request that a person decides on. */
export const requestStates = ['pending', 'approved', 'denied', 'issued'] as const
export type RequestState = (typeof requestStates)[number]

export const requestActions = ['approve', 'deny'] as const
export type RequestAction = (typeof requestActions)[number]

/**
 * What an operator's decision makes of a request: an approval can be taken back until the device has fetched its certificate,
 * a refusal is final for that key. Undefined where it is not possible.
 */
export function decidedState(
  state: RequestState,
  action: RequestAction,
): 'approved' | 'denied' | undefined {
  switch (state) {
    case 'pending':
      return action === 'approve' ? 'approved' : 'denied'
    case 'approved':
      return action === 'deny' ? 'denied' : undefined
    case 'denied':
    case 'issued':
      return undefined
    default:
      return undefined
  }
}

/** A paused profile keeps everything it has and lets nobody in. */
export const profileActions = ['pause', 'resume'] as const
export type ProfileAction = (typeof profileActions)[number]

/** What an hourly quota is counted over. */
export const hourMs = 3_600_000
