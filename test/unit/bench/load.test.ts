import { expect, test } from 'vitest'

import { Histogram } from '../../../bench/load/latencies.ts'
import {
  connectPacket,
  PacketReader,
  packetType,
  publishPacket,
  subscribePacket,
} from '../../../bench/load/packets.ts'

test('quantiles are within one percent, and never outside of what was measured', () => {
  const histogram = new Histogram()
  for (let ms = 1; ms <= 10_000; ms++) histogram.add(ms)
  const { count, least, p50, p99, most } = histogram.read()
  expect({ count, least, most }).toEqual({ count: 10_000, least: 1, most: 10_000 })
  expect(p50).toBeGreaterThanOrEqual(5_000)
  expect(p50).toBeLessThanOrEqual(5_050)
  expect(p99).toBeGreaterThanOrEqual(9_900)
  expect(p99).toBeLessThanOrEqual(10_000)
})

test('one value is every quantile, and nothing is zero', () => {
  const one = new Histogram()
  one.add(7.5)
  expect(one.read()).toEqual({
    count: 1,
    least: 7.5,
    p50: 7.5,
    p90: 7.5,
    p99: 7.5,
    p999: 7.5,
    most: 7.5,
  })
  expect(new Histogram().read().p99).toBe(0)
})

test('packets are put together from pieces of any size', () => {
  const payload = Buffer.alloc(300, 7)
  const stream = Buffer.concat([
    Buffer.from([0x20, 2, 0, 0]),
    publishPacket('fleetseal/v1/a/command', payload, 258),
    Buffer.from([0x40, 2, 1, 2]),
  ])
  for (const size of [1, 2, 3, 7, 100, stream.length]) {
    const seen: [number, number, number][] = []
    const reader = new PacketReader((type, flags, body) => seen.push([type, flags, body.length]))
    for (let at = 0; at < stream.length; at += size) reader.take(stream.subarray(at, at + size))
    expect(seen).toEqual([
      [packetType.connack, 0, 2],
      [packetType.publish, 2, 2 + 22 + 2 + 300],
      [packetType.puback, 0, 2],
    ])
  }
})

test('a length of more than four bytes is refused', () => {
  const reader = new PacketReader(() => {})
  expect(() => reader.take(Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80, 1]))).toThrow(/four bytes/)
})

test('what is sent is MQTT 3.1.1', () => {
  expect(connectPacket('ab', 1_200).toString('hex')).toBe(
    '100e00044d5154540402' + '04b0' + '00026162',
  )
  const subscribe = subscribePacket(1, [{ filter: 'a/b', qos: 1 }])
  expect(subscribe.toString('hex')).toBe('82080001' + '0003' + '612f62' + '01')
  expect(publishPacket('t', Buffer.from('x')).toString('hex')).toBe('3004' + '000174' + '78')
  expect(publishPacket('t', Buffer.alloc(200), 1).subarray(0, 3).toString('hex')).toBe('32cd01')
})
