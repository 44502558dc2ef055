import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { actionIdIn, firstActionId, nextActionId } from '../../../server/ddi/action-id.ts'
import { fileName } from '../../../server/ddi/answers.ts'
import { mergeAttributes } from '../../../server/ddi/config-data.ts'
import { readFeedback } from '../../../server/ddi/feedback.ts'
import { cancelMeaningOf, meaningOf } from '../../../server/ddi/meaning.ts'
import { shownFor, type Waiting } from '../../../server/ddi/present.ts'
import { sleepOf } from '../../../server/ddi/sleep.ts'
import { ddiProfiles } from '../../../server/protocol/ddi.ts'
import { deploymentStates } from '../../../server/protocol/deployment.ts'

const read = (text: string) => readFeedback(Buffer.from(text))

test('SWUpdate: numbers for ids, local time, log lines', () => {
  const body = {
    id: 1000000001,
    time: '20261126T120000',
    status: {
      result: { finished: 'none', progress: { cnt: 2, of: 5 } },
      execution: 'proceeding',
      details: ['a', 'b'],
    },
  }
  expect(read(JSON.stringify(body))).toEqual({
    execution: 'proceeding',
    finished: 'none',
    details: ['a', 'b'],
    progress: 40,
    read: 'plain',
  })
})

test('Zephyr: neither id, time nor details', () => {
  expect(read('{"status":{"result":{"finished":"success"},"execution":"closed"}}')).toEqual({
    execution: 'closed',
    finished: 'success',
    details: [],
    read: 'plain',
  })
})

test('a scalar where a list may stand; no result at all; words nobody knows', () => {
  expect(read('{"status":{"execution":"proceeding","details":"one"}}').details).toEqual(['one'])
  expect(read('{"status":{"execution":"closed"}}').finished).toBe('failure')
  expect(read('{"status":{"execution":"closed","result":{"finished":"ok"}}}').finished).toBe(
    'failure',
  )
  expect(read('{"status":{"execution":"dancing"}}').execution).toBe('proceeding')
})

test.each([
  [
    'raw quotation marks',
    '["cannot open "/dev/mmc" now","b"]',
    ['cannot open "/dev/mmc" now', 'b'],
  ],
  ['raw tabs and line ends', '["a\tb\nc"]', ['a b c']],
  ['brackets in a text', '["[install] : "x" ]","b"]', ['[install] : "x" ]', 'b']],
])('%s in the details are read all the same', (_what, details, expected) => {
  const body = `{"id":1,"status":{"result":{"finished":"failure"},"execution":"closed","details":${details}}}`
  expect(read(body)).toEqual({
    execution: 'closed',
    finished: 'failure',
    details: expected,
    read: 'repaired',
  })
})

test('what cannot be read is searched for its two words, and kept as it is', () => {
  const cut = '{"status":{"execution":"closed","result":{"finished":"success"},"details":["a'
  expect(read(cut)).toMatchObject({ execution: 'closed', finished: 'success', read: 'guessed' })
  expect(read('nothing')).toEqual({
    execution: 'proceeding',
    finished: 'none',
    details: ['nothing'],
    read: 'unreadable',
  })
  expect(read('').details).toEqual([])
})

test('whatever comes, it is read, within its bounds', () => {
  const good =
    '{"status":{"execution":"closed","result":{"finished":"success"},"details":["a","b"]}}'
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ maxLength: 400 }),
        fc.json(),
        fc
          .tuple(fc.nat(good.length), fc.string({ maxLength: 5 }))
          .map(([at, piece]) => good.slice(0, at) + piece + good.slice(at + 1)),
      ),
      (text) => {
        const { details } = read(text)
        expect(details.length).toBeLessThanOrEqual(200)
        expect(details.every((one) => one.length <= 2_048 && one.isWellFormed())).toBe(true)
      },
    ),
    { numRuns: 1_500, seed: 11 },
  )
  expect(read('['.repeat(200_000)).read).toBe('unreadable')
  expect(read(`{"details":[${'"]'.repeat(100_000)}`).read).toBe('unreadable')
})

test('what can be parsed and not be written again, or is no number, is read like the rest', () => {
  const deep = `${'['.repeat(60_000)}${']'.repeat(60_000)}`
  const said = (rest: string) => read(`{"status":{"execution":"closed",${rest}}}`)
  const { execution, details } = said(`"details":[${deep},"last"]`)
  expect([execution, details.length, details[1]]).toEqual(['closed', 2, 'last'])
  for (const count of [deep, '{"toString":1,"valueOf":1}']) {
    const counted = said(`"result":{"finished":"success","progress":{"cnt":${count},"of":3}}`)
    expect(counted).toMatchObject({ finished: 'success', read: 'plain' })
    expect(counted.progress).toBeUndefined()
  }
  expect(said('"result":{"finished":"none","progress":{"cnt":"1","of":4}}').progress).toBe(25)
})

test('success is never more than a claim, whatever the client', () => {
  for (const profile of ddiProfiles) {
    const said = meaningOf(
      read('{"status":{"execution":"closed","result":{"finished":"success"}}}'),
      {
        profile,
        started: true,
      },
    )
    expect(said.report?.state).toBe(profile === 'rauc' ? 'installed' : 'testing')
    expect(said).toMatchObject({ closes: true, claims: true })
  }
})

test.each([
  ['proceeding', 'none', [], { state: 'downloading' }, false],
  ['proceeding', 'none', ['All Chunks Installed.'], { state: 'installed' }, false],
  ['downloaded', 'none', [], { state: 'verified' }, false],
  ['scheduled', 'none', [], undefined, false],
  ['rejected', 'none', ['no'], { state: 'failed', code: 'declined', detail: 'no' }, true],
  ['canceled', 'none', [], { state: 'failed', code: 'cancelled-by-device' }, true],
  ['closed', 'failure', ['x'], { state: 'failed', code: 'device-reported', detail: 'x' }, true],
  [
    'closed',
    'failure',
    ['Update Failed.'],
    { state: 'rolled_back', code: 'device-reported', detail: 'Update Failed.' },
    true,
  ],
  ['closed', 'success', ['Skipped Update.'], { state: 'failed', code: 'skipped' }, true],
] as const)('%s %s %j', (execution, finished, details, report, closes) => {
  const said = meaningOf(
    { execution, finished, details: [...details], read: 'plain' },
    { profile: 'swupdate', started: true },
  )
  expect(said.report).toEqual(report)
  expect(said.closes).toBe(closes)
  expect(said.claims).toBe(false)
})

test('a cancellation is accepted, refused, or stays open', () => {
  const of = (
    execution: 'closed' | 'rejected' | 'proceeding',
    finished: 'success' | 'failure' | 'none',
  ) => cancelMeaningOf({ execution, finished, details: [], read: 'plain' })
  expect([of('closed', 'success'), of('closed', 'none')]).toEqual(['accepted', 'accepted'])
  expect([of('closed', 'failure'), of('rejected', 'success')]).toEqual(['refused', 'refused'])
  expect(of('proceeding', 'none')).toBe('open')
})

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

describe('what is shown', () => {
  test('what was started stays until it is closed, whatever else; then it is gone', () => {
    for (const state of deploymentStates) {
      if (['succeeded', 'rolled_back', 'failed_final', 'opted_out', 'failed'].includes(state))
        continue
      const expected = ['cancelled', 'superseded', 'expired'].includes(state)
        ? 'cancelAction'
        : 'deploymentBase'
      expect(linkOf({ state, started: true, auto: false }), state).toBe(expected)
    }
    for (const state of ['testing', 'installed', 'lost', 'cancelled', 'succeeded'] as const) {
      expect(linkOf({ state, started: true, closed: true }), state).toBe('none')
    }
  })

  test('what was not started is shown only to who may install it', () => {
    expect(linkOf({})).toBe('deploymentBase')
    expect(linkOf({ fileName: 'a.bin' })).toBe('none')
    expect(linkOf({ fileName: 'a.bin', profile: 'rauc' })).toBe('deploymentBase')
    expect(linkOf({ auto: false })).toBe('none')
    expect(linkOf({ auto: false, profile: 'generic' })).toBe('confirmationBase')
    expect(linkOf({ auto: false, forced: true })).toBe('deploymentBase')
    expect(linkOf({ state: 'opted_out' })).toBe('none')
    expect(linkOf({ state: 'cancelled' })).toBe('none')
    const until = (ms: number) => new Date(now.getTime() + ms)
    expect(linkOf({ state: 'postponed', postponedUntil: until(1) })).toBe('none')
    expect(linkOf({ state: 'postponed', postponedUntil: until(0) })).toBe('deploymentBase')
    expect(linkOf({ state: 'postponed', postponedUntil: until(1), forced: true })).toBe(
      'deploymentBase',
    )
  })

  test('a try that failed is followed by another, after pauses that double', () => {
    const after = (attempts: number, minutes: number) =>
      linkOf({
        state: 'failed',
        closed: true,
        attempts,
        changedAt: new Date(now.getTime() - minutes * 60_000),
      })
    expect([after(1, 14), after(1, 15)]).toEqual(['none', 'deploymentBase'])
    expect([after(3, 59), after(3, 60)]).toEqual(['none', 'deploymentBase'])
  })
})

describe('what is shown no more', () => {
  test('who was lost gets the same again, unless it was stopped or something newer runs', () => {
    const lost = { state: 'lost', started: true } as const
    expect(linkOf(lost)).toBe('deploymentBase')
    expect(linkOf({ ...lost, stopped: true })).toBe('cancelAction')
    expect(linkOf({ ...lost, overtaken: true })).toBe('cancelAction')
    expect(linkOf({ state: 'lost', stopped: true })).toBe('none')
    // Once begun it is offered until it is closed, or nothing could be reported.
    expect(linkOf({ state: 'installing', started: true, stopped: true })).toBe('deploymentBase')
  })

  test('while the rollout is paused nobody begins, and who has begun goes on', () => {
    for (const state of ['queued', 'offered', 'postponed', 'accepted', 'opted_out'] as const) {
      expect(linkOf({ state, paused: true, forced: true }), state).toBe('none')
      expect(linkOf({ state, forced: true }), state).toBe('deploymentBase')
      if (state === 'opted_out') continue
      expect(linkOf({ state, paused: true, started: true }), state).toBe('deploymentBase')
    }
    expect(linkOf({ state: 'lost', started: true, paused: true })).toBe('deploymentBase')
  })

  test('nobody is led back to what is older than what runs', () => {
    for (const state of ['queued', 'offered', 'accepted', 'failed', 'opted_out'] as const) {
      const past = new Date(now.getTime() - 86_400_000)
      const given = { state, forced: true, changedAt: past }
      expect(linkOf(given), state).toBe('deploymentBase')
      expect(linkOf({ ...given, overtaken: true }), state).toBe('none')
    }
  })
})

test('action ids survive the loss of their first digit', () => {
  expect(nextActionId(undefined)).toBe(firstActionId)
  expect(nextActionId(1_999_999_999)).toBe(2_000_000_001)
  expect(nextActionId(2_147_483_647)).toBeUndefined()
  fc.assert(
    fc.property(fc.integer({ min: firstActionId, max: 2_147_483_646 }), (id) => {
      const next = String(nextActionId(id))
      const shorn = Number(next.slice(1))
      expect(shorn).toBeGreaterThan(0)
      expect(shorn).toBeLessThan(firstActionId)
    }),
    { seed: 3, numRuns: 300 },
  )
  expect(['1000000001', '0', '', '-1', '1e3', '99999999999', '2147483648'].map(actionIdIn)).toEqual(
    [1_000_000_001, 0, undefined, undefined, undefined, undefined, undefined],
  )
})

test('sleep is eight characters, within a tenth, and not the same for all', () => {
  const now = new Date('2026-11-26T12:00:00Z')
  const sleeps = Array.from({ length: 200 }, (_, n) => sleepOf(`device-${n}`, 600, now))
  const seconds = sleeps.map((text) =>
    text.split(':').reduce((sum, part) => sum * 60 + Number(part), 0),
  )
  expect(sleeps.every((text) => /^\d\d:\d\d:\d\d$/.test(text))).toBe(true)
  expect(Math.min(...seconds)).toBeGreaterThanOrEqual(540)
  expect(Math.max(...seconds)).toBeLessThanOrEqual(660)
  expect(new Set(sleeps).size).toBeGreaterThan(50)
  expect([sleepOf('a', 1, now), sleepOf('a', 90_000_000, now)]).toEqual(['00:00:30', '23:59:59'])
})

test('attributes: merge, replace, remove; null deletes; ours are not theirs to say', () => {
  const before = { a: '1', b: 2 }
  const put = (body: unknown) => mergeAttributes(before, Buffer.from(JSON.stringify(body)))
  expect(put({ data: { a: null, c: 'x', 'fleetseal.y': 'z' } })).toEqual({ b: 2, c: 'x' })
  expect(put({ mode: 'replace', data: { c: true } })).toEqual({ c: true })
  expect(put({ mode: 'remove', data: { b: 'whatever' } })).toEqual({ a: '1' })
  expect(put({ data: ['x'] })).toEqual(before)
  expect(mergeAttributes(before, Buffer.from('nothing'))).toEqual(before)
  const many = Object.fromEntries(Array.from({ length: 300 }, (_, n) => [`k${n}`, 'v'.repeat(500)]))
  const kept = Object.entries(put({ data: many }))
  expect(kept).toHaveLength(100)
  expect(kept.every(([, value]) => String(value).length <= 128)).toBe(true)
  expect(put(JSON.parse('{"data":{"__proto__":"x"}}'))).toEqual({ ...before, ['__proto__']: 'x' })
})

test('a file name is plain, and short enough for old clients', () => {
  expect(fileName('gateway 1.2.0.swu')).toBe('gateway_1.2.0.swu')
  expect(fileName('../../etc/passwd')).toBe('_.._etc_passwd')
  expect(fileName('☃')).toBe('_')
  expect(fileName('...')).toBe('artifact')
  expect(fileName(`${'a'.repeat(300)}.swu`)).toMatch(/^a{56}\.swu$/)
})
