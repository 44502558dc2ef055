export type PkiErrorCode =
  | 'der'
  | 'csr'
  | 'certificate'
  | 'key'
  | 'profile'
  | 'crl'
  | 'ocsp'
  | 'cms'
  | 'scep'
  | 'pkcs12'
  | 'wrap'
  | 'pem'
  | 'token'

/**
 * Every way this library refuses an input. The message names what is wrong and never holds the input
 * itself, so it is safe to log and to answer with.
 */
export class PkiError extends Error {
  override readonly name = 'PkiError'
  readonly code: PkiErrorCode
  /** Byte offset of the fault in the DER that was given, where there is one. */
  readonly offset: number | undefined

  constructor(code: PkiErrorCode, message: string, offset?: number, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.offset = offset
  }
}
