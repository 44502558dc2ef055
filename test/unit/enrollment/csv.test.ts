import { expect, test } from 'vitest'

import { readCsv } from '../../../server/enrollment/csv.ts'

async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function rowsOf(text: string | Buffer, size = 3, maxRowLength = 100) {
  const rows: [number, ...string[]][] = []
  const bytes = Buffer.isBuffer(text) ? text : Buffer.from(text)
  for await (const { line, fields } of readCsv(pieces(bytes, size), maxRowLength)) {
    rows.push([line, ...fields])
  }
  return rows
}

test.each<[string, string, [number, ...string[]][]]>([
  ['nothing', '', []],
  ['empty lines', '\n\r\n\n', []],
  [
    'rows with and without an end',
    'a,b\n1,2\n3,4',
    [
      [1, 'a', 'b'],
      [2, '1', '2'],
      [3, '3', '4'],
    ],
  ],
  [
    'CRLF',
    'a,b\r\n1,2\r\n',
    [
      [1, 'a', 'b'],
      [2, '1', '2'],
    ],
  ],
  [
    'a mark of UTF-8',
    '\ufeffa\nä\n',
    [
      [1, 'a'],
      [2, 'ä'],
    ],
  ],
  [
    'empty fields',
    ',\n"",x\n',
    [
      [1, '', ''],
      [2, '', 'x'],
    ],
  ],
  ['quotes', '"a ""b"", c",d\n', [[1, 'a "b", c', 'd']]],
  [
    'lines in a field',
    '"a\nb\r\nc",d\ne\n',
    [
      [1, 'a\nb\r\nc', 'd'],
      [4, 'e'],
    ],
  ],
  ['an empty quoted row', '""\n', [[1, '']]],
  ['an emoji across pieces', '😀,é\n', [[1, '😀', 'é']]],
])('%s', async (_what, text, rows) => {
  for (const size of [1, 2, 3, 1000]) expect(await rowsOf(text, size)).toEqual(rows)
})

test.each<[string, string | Buffer, number]>([
  ['an open quotation mark', 'a\n"b', 2],
  ['text after a quoted field', '"a"b\n', 1],
  ['a quotation mark inside', 'a"b\n', 1],
  ['a lone carriage return', 'x\na\rb\n', 2],
  ['no UTF-8', Buffer.from([0x61, 0x0a, 0xff, 0x0a]), 1],
  ['half a character at the end', Buffer.from([0x61, 0x0a, 0xc3]), 2],
  ['a row without end', `a\n${'x'.repeat(200)}`, 2],
  ['too many fields', `${','.repeat(40)}\n`, 1],
])('%s is refused, with its line', async (_what, text, line) => {
  await expect(rowsOf(text)).rejects.toMatchObject({ code: 'invalid-request', facts: { line } })
})
