/** Whose certificate this is, and whether its device may do anything now. Shared by HTTPS and MQTT. */
export interface Identity {
  deviceId: string
  certificateId: string
  fingerprint: string
}

export type Refusal =
  | 'unknown-certificate'
  | 'certificate-revoked'
  /** Taken back until an operator releases it. */
  | 'certificate-held'
  | 'certificate-superseded'
  | 'certificate-expired'
  | 'device-disabled'
  | 'device-revoked'
  | 'device-retired'
  | 'group-disabled'
  /** The status could not be established (not loaded yet, database down): refused, never let through. */
  | 'status-unknown'

export type Verdict =
  | { allowed: true; identity: Identity }
  | { allowed: false; refusal: Refusal; deviceId?: string }

/**
 * The one lookup of architecture.md §6, by SHA-256 of the certificate's DER (lower hex). `peek` answers from memory and is
 * undefined for a certificate this process has not met; `check` then asks the database once and remembers.
 */
export interface IdentityDirectory {
  peek: (fingerprint: string) => Verdict | undefined
  check: (fingerprint: string) => Promise<Verdict>
  /** May this device (by id) act now? From memory; undefined when this process does not know it. */
  deviceAllowed: (deviceId: string) => boolean | undefined
  ready: () => boolean
  /** Changes may have happened that nobody told this process: who wants to come in is not judged from memory alone. */
  mayHaveMissed?: () => boolean
  /** Reads what changed since the last time and ends the connections of devices that lost their right. Never rejects. */
  sweep?: () => Promise<void>
}
