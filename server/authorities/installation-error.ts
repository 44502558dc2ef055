/**
 * The server cannot start on this data directory or database, and has changed nothing in it; or it cannot start here for
 * another reason that its operator can mend. The message says what is wrong and what to do; `main.ts` prints it without a stack.
 */
export class InstallationError extends Error {
  override readonly name = 'InstallationError'
}
