import { generateSecret, generateURI, verifySync } from 'otplib'

import { unwrapKey, wrapKey } from '../../pki/wrap.ts'

/** RFC 6238, as every authenticator app has it: SHA-1, six digits, 30 seconds. 160 bits. */
const secretBytes = 20
const stepSeconds = 30

/** What a sealed secret is bound to: the person, so that it may move from what is being set up to the account. */
export const totpContext = (personId: string) => `totp:${personId}`

export interface NewTotp {
  /** Base32, to be typed. */
  secret: string
  /** otpauth://, to be scanned. */
  uri: string
  sealed: Buffer
}

/** A new secret for an authenticator app, as it is shown once and as it is stored. */
export function newTotp(
  kek: Buffer,
  personId: string,
  shown: { issuer: string; label: string },
): NewTotp {
  const secret = generateSecret({ length: secretBytes })
  return {
    secret,
    uri: generateURI({ ...shown, secret }),
    sealed: wrapKey(kek, Buffer.from(secret, 'latin1'), totpContext(personId)),
  }
}

/**
 * The time step (RFC 6238 section 4.2) that a code of six digits belongs to: the one of now, the one before or the one after, for clocks that differ. Undefined
 * for a wrong code. The caller sees to it that no step is taken twice (section 5.2).
 */
export function stepOfCode(
  kek: Buffer,
  personId: string,
  given: { sealed: Buffer; code: string; now: Date },
): number | undefined {
  if (!/^\d{6}$/.test(given.code)) return undefined
  const secret = unwrapKey(kek, given.sealed, totpContext(personId)).toString('latin1')
  const result = verifySync({
    secret,
    token: given.code,
    epoch: Math.floor(given.now.getTime() / 1000),
    epochTolerance: stepSeconds,
  })
  return result.valid && 'timeStep' in result ? result.timeStep : undefined
}
