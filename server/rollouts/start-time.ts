import { DomainError } from '../errors.ts'
import type { Rollout } from './store.ts'

const furthestMs = 366 * 86_400_000

/** @throws DomainError `invalid-request` for an instant that is over or more than a year ahead */
export function mustBeInTime(startAt: Date | string | null | undefined, now: Date): void {
  if (startAt === null || startAt === undefined) return
  const aheadMs = new Date(startAt).getTime() - now.getTime()
  if (aheadMs > 0 && aheadMs <= furthestMs) return
  const message = 'startAt must be in the future, and within a year'
  throw new DomainError('invalid-request', message, { at: 'startAt' })
}

/**
 * When it starts is part of what people approve, so nobody starts it before.
 *
 * @throws DomainError `not-ready`
 */
export function mustBeDue({ id, start_at }: Rollout, now: Date): void {
  if (start_at === null || start_at <= now) return
  throw new DomainError(
    'not-ready',
    `It starts by itself at ${start_at.toISOString()} once it is approved; edit startAt to start it at another time`,
    { rolloutId: id, startAt: start_at.toISOString() },
  )
}
