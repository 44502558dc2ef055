import { expect, test } from 'vitest'

import { shownFor, type Waiting } from '../../../server/ddi/present.ts'

const now = new Date('2026-11-26T12:00:00Z')
const waiting: Waiting = {
  profile: 'swupdate',
  fileName: 'a.swu',
  state: 'queued',
  auto: true,
  forced: false,
  postponedUntil: null,
  changedAt: now,
  attempts: 0,
  stopped: false,
  paused: false,
  window: { open: true, next: null },
  overtaken: false,
  started: false,
  closed: false,
}
const linkOf = (given: Partial<Waiting>) => shownFor({ ...waiting, ...given }, now).link

test('outside of a window nobody begins, not with a retry either, and who has begun goes on', () => {
  const next = new Date(now.getTime() + 3_600_000)
  const window = { open: false, next }
  const shown = { link: 'none', reason: 'out-of-window', until: next }
  for (const state of ['queued', 'offered', 'postponed', 'accepted', 'opted_out'] as const) {
    expect(shownFor({ ...waiting, state, window, forced: true }, now), state).toEqual(shown)
    if (state === 'opted_out') continue
    expect(linkOf({ state, window, started: true }), state).toBe('deploymentBase')
  }
  const failed = { state: 'failed', closed: true, changedAt: new Date(0) } as const
  expect(shownFor({ ...waiting, ...failed, window }, now)).toEqual(shown)
  expect(linkOf(failed)).toBe('deploymentBase')
  const never = { open: false, next: null }
  expect(shownFor({ ...waiting, window: never }, now)).toEqual({
    link: 'none',
    reason: 'out-of-window',
  })
})
