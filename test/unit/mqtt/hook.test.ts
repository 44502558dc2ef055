import { setTimeout as sleep } from 'node:timers/promises'

import { expect, test } from 'vitest'

import { runHook } from '../../../server/mqtt/hook.ts'
import { Refused } from '../../../server/mqtt/refusal.ts'

/** Everything the hook answered within 60 ms, with a deadline of 20. */
async function answersOf(body: () => unknown): Promise<[string | null, unknown][]> {
  const answers: [string | null, unknown][] = []
  runHook(20, body, {
    answer: (error, value) => void answers.push([error?.reason ?? null, value]),
    fault: (error) => void answers.push([`fault: ${String(error)}`, undefined]),
  })
  await sleep(60)
  return answers
}

test('a value and a promise of one are answered once', async () => {
  expect(await answersOf(() => 7)).toEqual([[null, 7]])
  expect(await answersOf(async () => 7)).toEqual([[null, 7]])
})

test('a refusal keeps its reason', async () => {
  const refuse = () => {
    throw new Refused('rate-exceeded')
  }
  expect(await answersOf(refuse)).toEqual([['rate-exceeded', undefined]])
  expect(await answersOf(async () => refuse())).toEqual([['rate-exceeded', undefined]])
})

test('a throw, a rejection and silence are answered by a refusal, once', async () => {
  const fail = () => {
    throw new Error('on purpose')
  }
  expect(await answersOf(fail)).toEqual([['hook-failed', undefined]])
  expect(await answersOf(async () => fail())).toEqual([['hook-failed', undefined]])
  expect(await answersOf(() => new Promise(() => {}))).toEqual([['hook-timeout', undefined]])
  expect(await answersOf(() => sleep(40, 7))).toEqual([['hook-timeout', undefined]])
})

test('a throw of the answer itself is a fault and not a second answer', async () => {
  const faults: unknown[] = []
  let answers = 0
  for (const body of [() => 7, async () => 7]) {
    runHook<number>(20, body, {
      answer: () => {
        answers++
        throw new Error('inside Aedes')
      },
      fault: (error) => void faults.push(error),
    })
  }
  await sleep(60)
  expect(answers).toBe(2)
  expect(faults).toHaveLength(2)
})
