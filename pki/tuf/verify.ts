import { VerificationError } from './errors.ts'
import type { Bundle, DeviceFacts, TimeSources, TrustedState, VerifiedBundle } from './types.ts'

export function verifyBundle(
  state: TrustedState,
  bundle: Bundle,
  device: DeviceFacts,
  now: TimeSources,
): VerifiedBundle {
  throw new VerificationError('arbitrary', `Not verified: ${[state, bundle, device, now].length}`)
}
