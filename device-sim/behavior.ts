import type { OwnerRequest } from './update/owner.ts'

/** How a simulated device and its owner differ from the usual: for demonstrations and tests. */
export interface Behavior {
  /** The self-test of a new image fails. */
  failHealth?: boolean
  /** A bit flips while the image is written to its slot. */
  corruptSlot?: boolean
  /** The new image never takes the server's commit. */
  ignoreCommit?: boolean
  /** What the owner answers when an update is offered. */
  onOffer?: OwnerRequest['choice']
  /** The most that a download takes in, in bytes a second. */
  bytesPerSecond?: number
  /** How long a boot takes. */
  bootMs?: number
}
