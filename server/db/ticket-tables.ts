import type { Generated } from 'kysely'

/** The one secret that tickets of TLS sessions are sealed with: migration 0054. */
export interface TlsTicketKeyTable {
  is_only: Generated<boolean>
  version: number
  wrapped_secret: Buffer
  made_at: Date
}
