import { expect, test } from 'vitest'

import { FailureLimit, networkOf } from '../../../server/operators/failure-limit.ts'

const at = (seconds: number) => new Date(1_900_000_000_000 + seconds * 1000)

test('twenty failures are free, then one every three seconds', () => {
  const limit = new FailureLimit()
  for (let n = 1; n <= 20; n++) {
    expect(limit.allows('192.0.2.1', at(0))).toBe(true)
    // Only the last one is worth telling.
    expect(limit.failed('192.0.2.1', at(0))).toBe(n === 20)
  }
  expect(limit.allows('192.0.2.1', at(0))).toBe(false)
  expect(limit.allows('192.0.2.2', at(0))).toBe(true)
  expect(limit.allows('192.0.2.1', at(2.9))).toBe(false)
  expect(limit.allows('192.0.2.1', at(3.1))).toBe(true)
})

test('memory is bounded: who failed longest ago is forgotten', () => {
  const limit = new FailureLimit()
  for (let n = 0; n < 20; n++) limit.failed('192.0.2.1', at(0))
  for (let n = 0; n < 4_096; n++) limit.failed(`10.0.${n >> 8}.${n & 255}`, at(0))
  expect(limit.allows('192.0.2.1', at(0))).toBe(true)
})

test('a clock that goes back gives nothing away', () => {
  const limit = new FailureLimit()
  for (let n = 0; n < 20; n++) limit.failed('192.0.2.1', at(100))
  expect(limit.allows('192.0.2.1', at(0))).toBe(false)
})

test.each([
  ['192.0.2.7', '192.0.2.7'],
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::6', '2001:db8:1:2::/64'],
  ['2001:db8::6', '2001:db8:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['unknown', 'unknown'],
])('%s counts as %s', (address, network) => {
  expect(networkOf(address)).toBe(network)
})
