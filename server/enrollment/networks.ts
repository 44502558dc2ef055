import { BlockList, isIPv6 } from 'node:net'

import { DomainError } from '../errors.ts'

/** An IPv4 address may arrive in the form of an IPv6 one. */
function plainAddress(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  return mapped ?? address.replace(/%.*$/, '')
}

/** Whether an address lies in one of the networks, in CIDR. No networks are all of them. */
export function isWithin(networks: readonly string[], address: string): boolean {
  if (networks.length === 0) return true
  const list = new BlockList()
  for (const network of networks) {
    const [base = '', prefix = ''] = network.split('/')
    list.addSubnet(base, Number(prefix), isIPv6(base) ? 'ipv6' : 'ipv4')
  }
  const plain = plainAddress(address)
  return list.check(plain, isIPv6(plain) ? 'ipv6' : 'ipv4')
}

/** @throws DomainError `not-allowed` where devices of this profile do not enroll from */
export function assertNetwork(
  { source_networks: networks }: { source_networks: readonly string[] },
  address: string,
): void {
  if (isWithin(networks, address)) return
  throw new DomainError(
    'not-allowed',
    'Devices of this enrollment profile do not enroll from this network: see its source networks',
  )
}
