import { PkiError } from '../errors.ts'

export interface CrlSchedule {
  /** How often a new CRL is made. */
  readonly everyMs: number
  /** How long the maker may be dead before a CRL runs out (pki.md V6); at least one interval. */
  readonly outageMs: number
}

const secondMs = 1000

/**
 * thisUpdate and nextUpdate of a CRL made now, in whole seconds. thisUpdate never goes back, even if this process's clock
 * is behind that of the one that made the CRL before (V12).
 *
 * @param previousAt thisUpdate of the CRL before, of the same scope
 * @throws PkiError `crl` for an outage shorter than the interval
 */
export function crlTimes(
  now: Date,
  { everyMs, outageMs }: CrlSchedule,
  previousAt?: Date,
): { thisUpdate: Date; nextUpdate: Date } {
  if (!(everyMs >= secondMs && outageMs >= everyMs)) {
    throw new PkiError('crl', 'A CRL outlives at least one more interval')
  }
  const startMs = Math.max(now.getTime(), previousAt?.getTime() ?? 0)
  const thisMs = startMs - (startMs % secondMs)
  const lastsMs = Math.ceil((everyMs + outageMs) / secondMs) * secondMs
  return { thisUpdate: new Date(thisMs), nextUpdate: new Date(thisMs + lastsMs) }
}

/** Whether it is time for the next CRL. */
export function isCrlDue(
  now: Date,
  { everyMs }: CrlSchedule,
  previousAt: Date | undefined,
): boolean {
  return !previousAt || now.getTime() - previousAt.getTime() >= everyMs
}
