import { expect, test } from 'vitest'

import { assertNetwork, isWithin, networkOf } from '../../../server/enrollment/networks.ts'

test.each<[networks: string[], address: string, isIn: boolean]>([
  [[], '203.0.113.7', true],
  [[], 'unknown', true],
  [['10.0.0.0/8'], '10.255.255.255', true],
  [['10.0.0.0/8'], '11.0.0.0', false],
  [['10.0.0.0/8'], '::ffff:10.1.2.3', true],
  [['10.0.0.0/8'], '::ffff:11.1.2.3', false],
  [['10.0.0.0/8', '192.0.2.7/32'], '192.0.2.7', true],
  [['192.0.2.7/32'], '192.0.2.6', false],
  [['0.0.0.0/0'], '203.0.113.7', true],
  [['0.0.0.0/0'], '2001:db8::1', false],
  [['2001:db8::/32'], '2001:db8:ffff::1', true],
  [['2001:db8::/32'], '2001:db9::1', false],
  [['fe80::/10'], 'fe80::1%eth0', true],
  [['10.0.0.0/8'], 'unknown', false],
  [['10.0.0.0/8'], '', false],
])('%j and %s', (networks, address, isIn) => {
  expect(isWithin(networks, address)).toBe(isIn)
  const check = () => assertNetwork({ source_networks: networks }, address)
  if (isIn) expect(check).not.toThrow()
  else expect(check).toThrow(expect.objectContaining({ code: 'not-allowed' }))
})

test.each([
  ['203.0.113.7', '203.0'],
  ['::ffff:203.0.113.7', '203.0'],
  ['2001:db8:1::1', '2001:db8'],
  ['2001:0DB8::', '2001:db8'],
  ['2001::1', '2001:0'],
  ['::1', '0:0'],
  ['fe80::1%eth0', 'fe80:0'],
  ['unknown', undefined],
  ['', undefined],
])('the network of %s', (address, network) => {
  expect(networkOf(address)?.network).toBe(network)
})
