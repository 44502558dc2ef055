import type { PersonState, SessionEnd, SessionMethod } from '../people/state.ts'

/** Columns of migrations/0041_people.sql. */

export interface PersonTable {
  id: string
  name: string
  email: string | null
  state: PersonState
  oidc_issuer: string | null
  oidc_subject: string | null
  created_by: string
  created_at: Date
  disabled_at: Date | null
  last_sign_in_at: Date | null
}

export interface OperatorSessionTable {
  id: string
  person_id: string
  token_hash: Buffer
  method: SessionMethod
  created_at: Date
  last_seen_at: Date
  expires_at: Date
  proven_at: Date
  address: string
  user_agent: string
  oidc_sid: string | null
  oidc_hint: Buffer | null
  ended_at: Date | null
  ended_reason: SessionEnd | null
}

export interface OidcAttemptTable {
  state_hash: Buffer
  browser_hash: Buffer
  session_id: string | null
  return_to: string
  created_at: Date
  expires_at: Date
}

export interface WorkloadIdentityTable {
  id: string
  name: string
  issuer: string
  audience: string
  subject: string
  claims: unknown
  role: string
  created_by: string
  created_at: Date
  last_used_at: Date | null
  removed_at: Date | null
}

export interface OperatorCertificateTable {
  id: string
  name: string
  fingerprint: Buffer
  role: string
  owner_id: string | null
  not_before: Date
  not_after: Date
  created_by: string
  created_at: Date
  last_used_at: Date | null
  revoked_at: Date | null
}
