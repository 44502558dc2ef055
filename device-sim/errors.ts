export type DeviceErrorCode =
  | 'not-enrolled'
  | 'config'
  | 'already-enrolled'
  | 'already-running'
  | 'identity'
  | 'est'
  | 'offline'
  | 'pending'
  | 'damaged'
  | 'choice'
  | 'usage'

/** Something a person at the device can act on; `next` says how. */
export class DeviceError extends Error {
  override readonly name = 'DeviceError'
  readonly code: DeviceErrorCode
  readonly next: string
  /** Milliseconds the server asked to wait. */
  readonly retryAfterMs: number | undefined

  constructor(
    code: DeviceErrorCode,
    message: string,
    next: string,
    options?: ErrorOptions & { retryAfterMs?: number },
  ) {
    super(message, options)
    this.code = code
    this.next = next
    this.retryAfterMs = options?.retryAfterMs
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
