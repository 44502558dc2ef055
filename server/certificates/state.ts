/**
 * The life of a certificate. `pending`: its bytes are fixed and stored, it may have been signed, nobody has it.
 * `superseded`: its successor was used; valid by its dates, of no use here. `held`: revoked until it is released.
 */
export const certificateStates = [
  'pending',
  'issued',
  'superseded',
  'held',
  'revoked',
  'abandoned',
] as const
export type CertificateState = (typeof certificateStates)[number]

/** CRLReason by its RFC 5280 §5.3.1 name and number: those that make sense for a device. */
export const revocationReasons = {
  unspecified: 0,
  keyCompromise: 1,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  privilegeWithdrawn: 9,
} as const
export type RevocationReason = keyof typeof revocationReasons

export const revocationReasonNames = Object.keys(revocationReasons) as RevocationReason[]

/** Why a certificate that can be released is on the CRL. It is put there by an action of its own, never as a reason. */
export const holdReason = 'certificateHold'

const holdNumber = 6

/** The number for a CRL; undefined (left out, unspecified) for a word we do not know. */
export function reasonNumber(reason: string | null): number | undefined {
  if (reason === holdReason) return holdNumber
  return reason !== null && Object.hasOwn(revocationReasons, reason)
    ? revocationReasons[reason as RevocationReason]
    : undefined
}
