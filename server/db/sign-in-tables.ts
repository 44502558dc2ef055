/** Columns of migrations/0042_sign_in.sql. */

export const ticketKinds = [
  'invited',
  'password-shown',
  'passkey',
  'totp-setup',
  'passkey-setup',
  'step-up',
] as const
export type TicketKind = (typeof ticketKinds)[number]

export interface PersonPasswordTable {
  person_id: string
  hash: string
  changed_at: Date
}

export interface PersonTotpTable {
  person_id: string
  sealed_secret: Buffer
  last_step: number
  created_at: Date
}

export interface PersonPasskeyTable {
  id: string
  person_id: string
  name: string
  credential_id: Buffer
  public_key: Buffer
  counter: number
  transports: string[]
  is_synced: boolean
  is_backed_up: boolean
  aaguid: string
  created_at: Date
  last_used_at: Date | null
}

export interface PersonRecoveryCodeTable {
  person_id: string
  code_hash: Buffer
  created_at: Date
  used_at: Date | null
}

export interface PersonInvitationTable {
  id: string
  person_id: string
  token_hash: Buffer
  created_by: string
  created_at: Date
  expires_at: Date
  used_at: Date | null
}

export interface SignInTicketTable {
  token_hash: Buffer
  kind: TicketKind
  person_id: string | null
  session_id: string | null
  invitation_id: string | null
  password_hash: string | null
  sealed_secret: Buffer | null
  challenge: Buffer | null
  tries: number
  created_at: Date
  expires_at: Date
}

export interface SignInLimitTable {
  subject: string
  failures: number
  last_at: Date
  blocked_until: Date | null
}
