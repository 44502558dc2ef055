import type { Metrics } from './metrics.ts'
import { traced } from './tracing.ts'

/** What is signed: a closed list, for the label of a metric. */
export type SigningKind = 'certificate' | 'crl' | 'director' | 'metadata'

/** Does the signing, and counts how long it took (the first start signs before there are metrics); a span of a trace too, where there is one. What it throws is thrown on. */
export async function signed<T>(
  metrics: Pick<Metrics, 'signing'> | undefined,
  kind: SigningKind,
  work: () => Promise<T>,
): Promise<T> {
  const done = metrics?.signing.startTimer({ kind })
  return await traced(`sign ${kind}`, {}, async () => {
    try {
      const result = await work()
      done?.({ outcome: 'done' })
      return result
    } catch (error) {
      done?.({ outcome: 'failed' })
      throw error
    }
  })
}

/** The same for signatures that are made at once, in memory. */
export function signedNow<T>(
  { signing }: Pick<Metrics, 'signing'>,
  kind: SigningKind,
  work: () => T,
): T {
  const done = signing.startTimer({ kind })
  const result = work()
  done({ outcome: 'done' })
  return result
}
