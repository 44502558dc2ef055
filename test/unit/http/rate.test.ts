import { EventEmitter } from 'node:events'

import type { Request, Response } from 'express'
import { expect, test } from 'vitest'

import { limitCostly } from '../../../server/http/rate.ts'

/** A request that runs until it is ended. Undefined: refused. */
function runner() {
  const limit = limitCostly()
  return (id: string) => {
    const res = Object.assign(new EventEmitter(), { locals: { actor: { id } } })
    let began = false
    try {
      void limit({} as Request, res as unknown as Response, () => {
        began = true
      })
    } catch (error) {
      expect(error).toMatchObject({ code: 'rate-limited', facts: { retryAfterSeconds: 2 } })
      return undefined
    }
    expect(began).toBe(true)
    return () => res.emit('close')
  }
}

test('one caller runs four of them at a time, and the next when one has ended', () => {
  const run = runner()
  const [end] = [run('key:a'), run('key:a'), run('key:a'), run('key:a')]
  expect(run('key:a')).toBeUndefined()
  expect(run('key:b')).toBeDefined()
  end?.()
  expect(run('key:a')).toBeDefined()
  expect(run('key:a')).toBeUndefined()
})

test('all callers together run sixteen, and nothing is left of those that ended', () => {
  const run = runner()
  const ends = Array.from({ length: 16 }, (_, at) => run(`key:${at}`))
  expect(ends.every((end) => end !== undefined)).toBe(true)
  expect(run('key:other')).toBeUndefined()
  for (const end of ends) end?.()
  const again = Array.from({ length: 16 }, (_, at) => run(`key:${Math.floor(at / 4)}`))
  expect(again.every((end) => end !== undefined)).toBe(true)
})
