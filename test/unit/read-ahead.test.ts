import { expect, test } from 'vitest'

import { ReadAhead } from '../../server/artifacts/read-ahead.ts'

const bytes = Buffer.from(Array.from({ length: 95 }, (_, at) => at))

function file(name = 'a') {
  const fetched: [number, number][] = []
  const fetch = async (start: number, length: number) => {
    fetched.push([start, length])
    return Buffer.from(bytes.subarray(start, start + length))
  }
  return { name, size: bytes.length, fetch, fetched }
}

test('many that read the same fetch each block once, the last one short', async () => {
  const blocks = new ReadAhead({ blockBytes: 10, maxBlocks: 10 })
  const one = file()
  const reads = [0, 1, 2].map(async () => {
    const into = Buffer.alloc(100)
    const got = await blocks.read(one, into, { position: 0, length: 100 })
    return into.subarray(0, got)
  })
  for (const read of await Promise.all(reads)) expect(read).toEqual(bytes)
  expect(one.fetched).toHaveLength(10)
  expect(one.fetched.at(-1)).toEqual([90, 5])
})

test('every stretch is the right one', async () => {
  const blocks = new ReadAhead({ blockBytes: 10, maxBlocks: 2 })
  for (let position = 0; position <= bytes.length; position++) {
    for (const length of [1, 9, 10, 11, 200]) {
      const into = Buffer.alloc(120)
      const got = await blocks.read(file(), into, { position, length })
      expect(into.subarray(0, got)).toEqual(bytes.subarray(position, position + length))
    }
  }
})

test('holds so many blocks and no more, those read last', async () => {
  const blocks = new ReadAhead({ blockBytes: 10, maxBlocks: 2 })
  const one = file()
  const at = async (position: number) =>
    await blocks.read(one, Buffer.alloc(1), { position, length: 1 })
  for (const position of [0, 10, 0, 20, 0]) await at(position)
  expect(one.fetched.map(([start]) => start)).toEqual([0, 10, 20])
  await at(10)
  expect(one.fetched).toHaveLength(4)
  expect(blocks.held).toBe(2)
})

test('files are told apart, and what failed is asked for again', async () => {
  const blocks = new ReadAhead({ blockBytes: 10, maxBlocks: 10 })
  const broken = { ...file('b'), fetch: async () => await Promise.reject(new Error('away')) }
  const into = Buffer.alloc(5)
  await blocks.read(file(), into, { position: 0, length: 5 })
  await expect(blocks.read(broken, into, { position: 0, length: 5 })).rejects.toThrow('away')
  expect(await blocks.read(file('b'), into, { position: 0, length: 5 })).toBe(5)
})
