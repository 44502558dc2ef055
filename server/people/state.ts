/** Somebody who works with the fleet. Nobody is deleted: the audit log speaks of them. */
export const personStates = ['active', 'disabled'] as const
export type PersonState = (typeof personStates)[number]

/** How a session was begun. */
export const sessionMethods = ['oidc', 'password', 'passkey'] as const
export type SessionMethod = (typeof sessionMethods)[number]

/** Why a session ended before its time. */
export const sessionEnds = [
  'signed-out',
  'by-administrator',
  'by-person',
  'by-provider',
  'person-disabled',
  'too-many',
  'credentials-changed',
] as const
export type SessionEnd = (typeof sessionEnds)[number]
