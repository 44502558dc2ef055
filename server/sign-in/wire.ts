import { z } from 'zod'

export const factorKinds = ['passkey', 'totp', 'recovery-code'] as const
export type FactorKind = (typeof factorKinds)[number]

const token = z.string().regex(/^[A-Za-z0-9_-]{43}$/, 'is not one of ours')
const email = z.string().trim().min(3).max(254)
/** Longer than a password may be, so that the refusal can say what is wrong. */
const password = z.string().min(1).max(1_024)
const bytes = z
  .string()
  .max(8_192)
  .regex(/^[A-Za-z0-9_-]*$/, 'must be base64url')
const code = z
  .string()
  .trim()
  .transform((text) => text.replaceAll(' ', ''))
  .pipe(z.string().regex(/^\d{6}$/, 'has six digits'))
const passkeyName = z.string().trim().min(1).max(100)

const credential = {
  id: bytes.max(1_400),
  rawId: bytes.max(1_400),
  type: z.literal('public-key'),
  authenticatorAttachment: z.enum(['platform', 'cross-platform']).nullish(),
  clientExtensionResults: z.looseObject({}),
}

/** What `navigator.credentials.get` answers, in JSON (WebAuthn level 3, section 5.1.8). */
const PasskeyShown = z.object({
  ...credential,
  response: z.object({
    authenticatorData: bytes,
    clientDataJSON: bytes,
    signature: bytes,
    userHandle: bytes.max(100).optional(),
  }),
})

/** What `navigator.credentials.create` answers. */
const PasskeyMade = z.object({
  ...credential,
  response: z.object({
    attestationObject: bytes,
    clientDataJSON: bytes,
    transports: z.array(z.string().max(32)).max(10).optional(),
    authenticatorData: bytes.optional(),
    publicKey: bytes.optional(),
    publicKeyAlgorithm: z.number().optional(),
  }),
})

const totpShown = { kind: z.literal('totp'), code }
const recoveryShown = {
  kind: z.literal('recovery-code'),
  code: z.string().trim().min(16).max(40),
}
const passkeyShown = { kind: z.literal('passkey'), response: PasskeyShown }

export type ShownFactor =
  | { kind: 'totp'; code: string }
  | { kind: 'recovery-code'; code: string }
  | { kind: 'passkey'; response: z.infer<typeof PasskeyShown> }

export const PasswordBody = z.strictObject({ email, password })
export const NoBody = z.strictObject({})
export const TicketBody = z.strictObject({ ticket: token })

/** The ticket of the step before, and the factor. */
export const FactorBody = z.discriminatedUnion('kind', [
  z.strictObject({ ticket: token, ...totpShown }),
  z.strictObject({ ticket: token, ...recoveryShown }),
  z.strictObject({ ticket: token, ...passkeyShown }),
])

/** Of a step-up only a passkey has a ticket: that of its options. */
export const StepUpBody = z.discriminatedUnion('kind', [
  z.strictObject(totpShown),
  z.strictObject(recoveryShown),
  z.strictObject({ ticket: token, ...passkeyShown }),
])

export const InvitationBody = z.strictObject({ token })
/** Without a password the account has passkeys only. */
export const AcceptBody = z.strictObject({ token, password: password.optional() })

export const SetupBody = z.discriminatedUnion('kind', [
  z.strictObject({ ticket: token, ...totpShown }),
  z.strictObject({
    ticket: token,
    kind: z.literal('passkey'),
    name: passkeyName.optional(),
    response: PasskeyMade,
  }),
])
export type SetupBody = z.infer<typeof SetupBody>

/** Options for the browser, handed through as they are (WebAuthn level 3, sections 5.4 and 5.5). */
const BrowserOptions = z.record(z.string(), z.unknown())

export const WaysView = z.object({
  passkey: z.boolean(),
  /** The request came with a session's cookie, whatever that is worth: a page cannot see it itself. */
  hasCookie: z.boolean(),
  /** Where a sign-in at the OpenID provider begins; null when none is configured. */
  oidcUrl: z.string().nullable(),
})

export const TicketView = z.object({
  /** Shown at the next step, once. */
  ticket: z.string(),
  expiresAt: z.iso.datetime(),
  kinds: z.array(z.enum(factorKinds)),
})

export const PasskeyOptionsView = z.object({
  ticket: z.string(),
  expiresAt: z.iso.datetime(),
  options: BrowserOptions,
})

export const InvitationView = z.object({
  name: z.string(),
  email: z.string(),
  expiresAt: z.iso.datetime(),
})

export const TotpSetupView = z.object({
  /** Base32, to be typed. */
  secret: z.string(),
  /** otpauth://, to be scanned. */
  uri: z.string(),
})

export const SignedInView = z.object({
  personId: z.uuid(),
  name: z.string(),
  sessionId: z.uuid(),
  /** Left after this sign-in; null for an account without any. */
  recoveryCodesLeft: z.number().int().nullable(),
})
export type SignedInView = z.infer<typeof SignedInView>

/** Ten codes, shown here and never again. */
const recoveryCodes = z.array(z.string()).max(10)
export const SetUpView = SignedInView.extend({ recoveryCodes })

export const StepUpOptionsView = z.object({
  kinds: z.array(z.enum([...factorKinds, 'oidc'])),
  /** For the browser, when a passkey is among the kinds. */
  passkey: PasskeyOptionsView.nullable(),
  /** Where to sign in anew, for people of the provider. */
  oidcUrl: z.string().nullable(),
})

export const SteppedUpView = z.object({ stepUpUntil: z.iso.datetime() })
