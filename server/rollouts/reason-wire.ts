/**
 * Why a rollout does not offer its release to a device now (rollouts.md §4), in the order in which it is asked. Public:
 * a code never changes its meaning.
 */
export const reasonCodes = [
  /** The rollout is a draft, waits for its start, is paused, or is over. */
  'not-running',
  /** Not in the group, or not what the query asks for. */
  'not-targeted',
  /** Not active, or in a group that an incident cut off. */
  'device-blocked',
  /** Its certificate ends too soon: it renews first. */
  'certificate-expiring',
  /** It never said what it is. */
  'never-seen',
  /** Another model, other hardware, or another component that is missing or too old. */
  'incompatible',
  'already-current',
  /** What runs is newer, or has a higher security version. */
  'downgrade',
  'rolled-back-before',
  /** It works on another release of the component, or has a newer one before it. */
  'open-deployment',
  /** A release that has to come in between, and none that is published leads there. */
  'must-pass-through',
  /** Too many tries, or a failure not long ago. */
  'penalty',
  'not-in-phase',
  'out-of-window',
  /** Another rollout comes first. */
  'other-rollout',
  'rate',
  'no-slot',
] as const
export type ReasonCode = (typeof reasonCodes)[number]
