import { describe, expect, test, vi } from 'vitest'

import { BlockPool } from '../../../server/artifacts/block-pool.ts'
import { ByteBudget } from '../../../server/artifacts/byte-budget.ts'

const never = () => new AbortController().signal
const patience = (timeoutMs = 60_000) => ({ timeoutMs, signal: never() })

async function settled(promise: Promise<unknown>): Promise<boolean> {
  const waiting = Symbol('waiting')
  return (await Promise.race([promise, Promise.resolve(waiting)])) !== waiting
}

describe('the budget', () => {
  test('is never exceeded and is given first come, first served', async () => {
    const budget = new ByteBudget({ maxBytes: 100, maxWaiting: 10 })
    const release = await budget.claim(80, patience())
    const order: string[] = []
    const large = budget.claim(60, patience()).then((free) => (order.push('large'), free))
    const small = budget.claim(10, patience()).then((free) => (order.push('small'), free))
    expect(await settled(small)).toBe(false)
    expect(budget.usedBytes).toBe(80)
    release()
    release()
    const frees = await Promise.all([large, small])
    expect(order).toEqual(['large', 'small'])
    expect(budget.usedBytes).toBe(70)
    for (const free of frees) free()
    expect(budget.usedBytes).toBe(0)
  })

  test('what is admitted is counted before it runs again', async () => {
    const budget = new ByteBudget({ maxBytes: 100, maxWaiting: 10 })
    const first = await budget.claim(100, patience())
    const second = budget.claim(100, patience())
    first()
    const third = budget.claim(100, patience())
    expect(budget.usedBytes).toBe(100)
    ;(await second)()
    ;(await third)()
    expect(budget.usedBytes).toBe(0)
  })

  test('1,000 requesters: as many as wait at most are kept, the others are told to come again', async () => {
    const budget = new ByteBudget({ maxBytes: 10, maxWaiting: 100 })
    const all = await Promise.allSettled(
      Array.from({ length: 1_000 }, async () => {
        const free = await budget.claim(10, patience())
        expect(budget.usedBytes).toBeLessThanOrEqual(10)
        free()
      }),
    )
    const refused = all.filter(({ status }) => status === 'rejected')
    expect(refused.length).toBe(899)
    expect(refused[0]).toMatchObject({ reason: { code: 'busy' } })
    expect(budget.usedBytes).toBe(0)
  })

  test('who waits too long or goes away leaves, and those behind move up', async () => {
    vi.useFakeTimers()
    const budget = new ByteBudget({ maxBytes: 100, maxWaiting: 10 })
    const free = await budget.claim(50, patience())
    const gone = new AbortController()
    const late = budget.claim(100, patience(1_000))
    const left = budget.claim(100, { timeoutMs: 60_000, signal: gone.signal })
    const behind = budget.claim(50, patience())
    const refusals = Promise.all([
      expect(late).rejects.toMatchObject({ code: 'busy' }),
      expect(left).rejects.toMatchObject({ code: 'busy' }),
    ])
    vi.advanceTimersByTime(1_000)
    gone.abort()
    await refusals
    ;(await behind)()
    free()
    expect(budget.usedBytes).toBe(0)
    vi.useRealTimers()
  })
})

describe('the pool', () => {
  test('uses a buffer again only when it may', async () => {
    const pool = new BlockPool(64, { maxBytes: 128, maxWaiting: 1 })
    const first = await pool.claim(64, patience())
    const { buffer } = first
    first.release('reuse')
    const second = await pool.claim(64, patience())
    expect(second.buffer).toBe(buffer)
    second.release()
    const third = await pool.claim(64, patience())
    expect(third.buffer).not.toBe(first.buffer)
    const small = await pool.claim(16, patience())
    expect(small.buffer.length).toBe(16)
  })
})
