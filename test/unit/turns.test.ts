import { afterEach, beforeEach, expect, test, vi } from 'vitest'

import { Turns } from '../../server/turns.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const limits = { atOnce: 2, maxWaiting: 2, maxWaitMs: 8_000 }

/** Work that ends when it is told to. */
function held(turns: Turns, log: string[], name: string) {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const done = turns.run(async () => {
    log.push(name)
    return await promise
  })
  done.catch(() => {})
  return { done, end: () => resolve(name), fail: () => reject(new Error(name)) }
}

const settle = async () => await vi.advanceTimersByTimeAsync(0)

test('so many at a time, the others in the order in which they came, whatever becomes of the first', async () => {
  const log: string[] = []
  const turns = new Turns(limits)
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((name) => held(turns, log, name))
  await settle()
  expect(log).toEqual(['a', 'b'])
  b?.fail()
  await settle()
  expect(log).toEqual(['a', 'b', 'c'])
  await expect(b?.done).rejects.toThrow('b')
  a?.end()
  await settle()
  expect(log).toEqual(['a', 'b', 'c', 'd'])
  c?.end()
  d?.end()
  await expect(Promise.all([a?.done, c?.done, d?.done])).resolves.toEqual(['a', 'c', 'd'])
  expect(turns.running).toBe(0)
})

test('who finds the queue full, or waits too long, is told when to come again, and no turn is lost', async () => {
  const log: string[] = []
  const turns = new Turns(limits, () => 0.5)
  const [a, b, c] = ['a', 'b', 'c'].map((name) => held(turns, log, name))
  const d = held(turns, log, 'd')
  await settle()
  await expect(turns.run(() => Promise.resolve(1))).rejects.toMatchObject({
    code: 'busy',
    facts: { retryAfterSeconds: 12 },
  })
  await vi.advanceTimersByTimeAsync(limits.maxWaitMs)
  await expect(c?.done).rejects.toMatchObject({ code: 'busy' })
  await expect(d.done).rejects.toMatchObject({ code: 'busy' })
  expect(log).toEqual(['a', 'b'])
  a?.end()
  b?.end()
  await settle()
  expect(turns.running).toBe(0)
  await expect(turns.run(() => Promise.resolve(2))).resolves.toBe(2)
  expect(turns.running).toBe(0)
})
