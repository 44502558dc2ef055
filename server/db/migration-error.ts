/**
 * The database and the migrations of this version do not belong together; nothing was changed. The message says what is wrong and
 * what to do: the server ends with it, without a stack.
 */
export class MigrationError extends Error {
  override readonly name = 'MigrationError'
}
