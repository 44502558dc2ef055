import { z } from 'zod'

import { GrantsBody } from '../access/wire.ts'
import { personStates, sessionEnds, sessionMethods } from './state.ts'

export const PersonParams = z.object({ personId: z.uuid().lowercase() })
export const SessionParams = PersonParams.extend({ sessionId: z.uuid().lowercase() })

const name = z.string().trim().min(1).max(100)
/** To sign in with, and for alerts; of a local account unique whatever its case. */
export const EmailAddress = z
  .email()
  .max(254)
  .regex(/^[\x21-\x7e]+$/, 'must be ASCII')

export const NewPersonBody = z.strictObject({
  name,
  email: EmailAddress,
  /** What this person may do; nothing when left out. */
  grants: GrantsBody.shape.grants.optional(),
})

export const PersonChangeBody = z.strictObject({
  name: name.optional(),
  email: EmailAddress.optional(),
})

export const PersonActionBody = z.strictObject({
  action: z.enum(['disable', 'enable']),
  /** Why, for the audit log. */
  reason: z.string().trim().min(1).max(500),
})

export const PersonView = z.object({
  id: z.uuid(),
  /** Of audit rows and grants: `user:ID`. */
  principal: z.string(),
  name: z.string(),
  email: z.string().nullable(),
  state: z.enum(personStates),
  /** Null for a local account. */
  provider: z.object({ issuer: z.string(), subject: z.string() }).nullable(),
  createdBy: z.string(),
  createdAt: z.iso.datetime(),
  disabledAt: z.iso.datetime().nullable(),
  lastSignInAt: z.iso.datetime().nullable(),
})
export type PersonView = z.infer<typeof PersonView>

export const SessionView = z.object({
  id: z.uuid(),
  method: z.enum(sessionMethods),
  createdAt: z.iso.datetime(),
  lastSeenAt: z.iso.datetime(),
  expiresAt: z.iso.datetime(),
  /** When a second factor was last shown, or the provider last asked. */
  provenAt: z.iso.datetime(),
  address: z.string(),
  userAgent: z.string(),
  endedAt: z.iso.datetime().nullable(),
  endedReason: z.enum(sessionEnds).nullable(),
})
export type SessionView = z.infer<typeof SessionView>
