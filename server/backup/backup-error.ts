/** A backup cannot be made, read or restored, for a reason that its message says, with what to do about it. */
export class BackupError extends Error {
  override readonly name = 'BackupError'
}
