import { Refused } from './refusal.ts'

export interface Answers<T> {
  /** Called exactly once: with the value, or with a `Refused` after a throw, a rejection, or the deadline. */
  answer: (error: Refused | null, value?: T) => void
  /** Called when `answer` itself threw, which leaves the connection in no known state. */
  fault: (error: unknown) => void
}

/**
 * Runs the body of one Aedes hook. Aedes catches nothing: a throw surfaces anywhere, a rejection or a missing answer
 * leaks the connection, a second answer corrupts its series (broker.md §1.3).
 *
 * @param deadlineMs after which the answer is `hook-timeout`, whatever the body still does
 */
export function runHook<T>(
  deadlineMs: number,
  body: () => T | Promise<T>,
  { answer, fault }: Answers<T>,
): void {
  let answered = false
  let timer: NodeJS.Timeout | undefined
  const settle = (error: Refused | null, value?: T) => {
    if (answered) return
    answered = true
    clearTimeout(timer)
    try {
      if (error) answer(error)
      else answer(null, value)
    } catch (thrown) {
      fault(thrown)
    }
  }
  try {
    const outcome = body()
    if (outcome instanceof Promise) {
      timer = setTimeout(
        () => settle(new Refused('hook-timeout', {}, { returnCode: 3 })),
        deadlineMs,
      )
      outcome.then(
        (value) => settle(null, value),
        (error: unknown) => settle(asRefused(error)),
      )
    } else settle(null, outcome)
  } catch (error) {
    settle(asRefused(error))
  }
}

export function asRefused(error: unknown): Refused {
  if (error instanceof Refused) return error
  return new Refused('hook-failed', {}, { returnCode: 3, cause: error })
}
