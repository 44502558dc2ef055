import { z } from 'zod'

import { TotpSetupView } from './wire.ts'

export const PasskeyView = z.object({
  id: z.uuid(),
  name: z.string(),
  /** Kept by a password manager and on several devices; false: on one device. */
  isSynced: z.boolean(),
  isBackedUp: z.boolean(),
  createdAt: z.iso.datetime(),
  lastUsedAt: z.iso.datetime().nullable(),
})
export type PasskeyView = z.infer<typeof PasskeyView>

export const CredentialsView = z.object({
  hasPassword: z.boolean(),
  totpSince: z.iso.datetime().nullable(),
  passkeys: z.array(PasskeyView).max(20),
  recoveryCodesLeft: z.number().int(),
})
export type CredentialsView = z.infer<typeof CredentialsView>

export const SelfView = z.object({
  person: z.object({ id: z.uuid(), name: z.string(), email: z.string().nullable() }),
  session: z.object({
    id: z.uuid(),
    /** Until when nothing asks for the second factor again. */
    stepUpUntil: z.iso.datetime(),
  }),
  /** Null for people of the OpenID provider: theirs are kept there. */
  credentials: CredentialsView.nullable(),
})
export type SelfView = z.infer<typeof SelfView>

export const PasswordChangeBody = z.strictObject({
  /** Needed when there is one. */
  current: z.string().min(1).max(1_024).optional(),
  password: z.string().min(1).max(1_024),
})

export const TotpOfferView = TotpSetupView.extend({
  ticket: z.string(),
  expiresAt: z.iso.datetime(),
})
export const OwnSessionParams = z.object({ sessionId: z.uuid().lowercase() })
export const PasskeyParams = z.object({ passkeyId: z.uuid().lowercase() })
export const RecoveryCodesView = z.object({ recoveryCodes: z.array(z.string()).max(10) })

export const PersonParams = z.object({ personId: z.uuid().lowercase() })

/** The answer to the POST alone: `token` and `url` are shown here and never again. */
export const NewInvitationView = z.object({
  id: z.uuid(),
  personId: z.uuid(),
  token: z.string(),
  /** For the one who is invited; whoever has it takes the account. */
  url: z.string(),
  expiresAt: z.iso.datetime(),
})
export type NewInvitationView = z.infer<typeof NewInvitationView>

/** What an administrator sees of somebody's account. */
export const AccountView = CredentialsView.extend({
  personId: z.uuid(),
  failures: z.number().int(),
  /** Until when passwords and codes are refused unseen; null: they are looked at. */
  blockedUntil: z.iso.datetime().nullable(),
  invitationExpiresAt: z.iso.datetime().nullable(),
})
export type AccountView = z.infer<typeof AccountView>
