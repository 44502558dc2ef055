import { readFileSync } from 'node:fs'

import { expect, test } from 'vitest'

import { benches, unmeasured } from '../../bench/benches.ts'
import { budgetKeys, budgetLines, budgets } from '../../bench/budgets.ts'

const measured = benches.flatMap((bench) => bench.budgets)

test('every budget has a row in exactly one bench, or a reason why there is none', () => {
  const wrong = budgetKeys
    .map((key) => ({
      key,
      places:
        measured.filter((one) => one === key).length + (unmeasured[key] === undefined ? 0 : 1),
    }))
    .filter(({ places }) => places !== 1)
  expect(wrong).toEqual([])
})

test('every line of the budgets has a figure that it is held against', () => {
  const named = new Set(budgetKeys.map((key) => budgets[key].line))
  expect(Object.keys(budgetLines).filter((line) => !named.has(line as never))).toEqual([])
})

test('benches have names of their own', () => {
  const names = benches.map(({ name }) => name)
  expect(new Set(names).size).toBe(names.length)
})

test('the page has a place for the table', () => {
  const page = readFileSync('docs/performance.md', 'utf8')
  const [begin, end] = ['<!-- bench:begin -->', '<!-- bench:end -->'].map((mark) =>
    page.indexOf(mark),
  )
  expect(begin).toBeGreaterThan(0)
  expect(end).toBeGreaterThan(begin ?? 0)
})
