/** What scripts may rely on; nothing else is ever returned. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  notAuthenticated: 4,
  /** Of `--wait`: the rollout is paused, by a rule or by a person. */
  paused: 5,
  /** Of `--wait`: a rule ended it. */
  ended: 6,
  /** Of `--wait`: it was cancelled. */
  cancelled: 7,
  /** Of `--wait`: it goes on, and `--wait-limit` is over. */
  timeout: 8,
} as const
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes]

/** A command that ends without success, with what to tell and how to exit. */
export class Failure extends Error {
  override readonly name = 'Failure'
  readonly exitCode: ExitCode
  /** From the server's closed list, or one of `usage`, `unreachable`, `failed`. */
  readonly code: string
  /** What to do about it. */
  readonly nextStep: string | undefined
  readonly facts: Readonly<Record<string, unknown>>

  constructor(
    code: string,
    message: string,
    more: {
      exitCode?: ExitCode
      nextStep?: string | undefined
      facts?: Record<string, unknown>
      cause?: unknown
    } = {},
  ) {
    super(message, more.cause === undefined ? {} : { cause: more.cause })
    this.code = code
    this.exitCode = more.exitCode ?? exitCodes.failed
    this.nextStep = more.nextStep
    this.facts = more.facts ?? {}
  }
}

/** The command line itself is wrong. */
export function usageError(message: string, nextStep?: string): Failure {
  return new Failure('usage', message, { exitCode: exitCodes.usage, nextStep })
}
