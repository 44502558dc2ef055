import { expect, test } from 'vitest'

import { createProgress, renderBar } from '../../../cli/progress.ts'
import { renderFields, renderTable } from '../../../cli/table.ts'
import { bytes, fit, plain, widthOf } from '../../../cli/text.ts'

const columns = [
  { head: 'name', cell: (row: { name: string; on: boolean | null }) => row.name },
  { head: 'on', cell: (row: { name: string; on: boolean | null }) => row.on },
]

test('columns are aligned, empty cells show, nothing trails', () => {
  const table = renderTable(columns, [
    { name: 'alpha', on: true },
    { name: 'b', on: null },
  ])
  expect(table.split('\n')).toEqual(['NAME   ON', 'alpha  yes', 'b      -'])
})

test('a name cannot move the cursor, recolor the screen, turn the direction or forge a line', () => {
  const hostile = 'a\u001b[2Jb\r\nc\u202ed\u0000\u009b31m\ud800'
  const table = renderTable(columns, [{ name: hostile, on: true }])
  // eslint-disable-next-line no-control-regex
  expect(table).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/)
  expect(table.split('\n')).toHaveLength(2)
  expect(plain('Grüße, 機器 👍')).toBe('Grüße, 機器 👍')
})

test('too wide a table gives way in its widest column', () => {
  const table = renderTable(columns, [{ name: 'x'.repeat(200), on: true }], 40)
  for (const line of table.split('\n')) expect(widthOf(line)).toBeLessThanOrEqual(40)
  expect(table).toContain('…')
})

test('wide characters count twice', () => {
  expect(widthOf('機器')).toBe(4)
  expect(widthOf('é')).toBe(1)
  expect(fit('機器機器', 5)).toBe('機器…')
  expect(fit('abc', 3)).toBe('abc')
})

test('fields and sizes read well', () => {
  expect(
    renderFields([
      ['id', 1],
      ['long name', null],
    ]),
  ).toBe('id:        1\nlong name: -')
  expect([0, 1023, 1536, 5 * 1024 ** 3].map(bytes)).toEqual(['0 B', '1023 B', '1.5 KiB', '5.0 GiB'])
})

test('a bar never overflows and copes with nothing to do', () => {
  expect(renderBar(1, 2, 'half', 10)).toBe('[#####.....]  50%  half')
  expect(renderBar(0, 0, '', 4)).toBe('[....]   0%  ')
  expect(renderBar(9, 3, '', 4)).toBe('[####] 100%  ')
})

test('on a terminal one line is redrawn; elsewhere there is a line for each tenth', () => {
  const written: string[] = []
  let now = 0
  const target = { isTTY: true, columns: 80, write: (text: string) => written.push(text) }
  const bar = createProgress(target, () => now)
  for (let done = 0; done <= 1000; done++) {
    now += 1
    bar.update(done, 1000, 'x')
  }
  bar.end()
  expect(written.length).toBeLessThan(20)
  expect(written.at(-2)).toContain('100%')
  expect(written.at(-1)).toBe('\n')

  const log: string[] = []
  const plainBar = createProgress({ write: (text: string) => log.push(text) }, () => 0)
  for (let done = 0; done <= 1000; done++) plainBar.update(done, 1000, 'x')
  plainBar.end()
  expect(log).toHaveLength(11)
})
