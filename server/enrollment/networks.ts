import { BlockList, isIPv4, isIPv6 } from 'node:net'

import { DomainError } from '../errors.ts'

/** An IPv4 address may arrive in the form of an IPv6 one. */
function plainAddress(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  return mapped ?? address.replace(/%.*$/, '')
}

/**
 * What is taken for one network: the addresses of a provider's pool change within it. Undefined for what is no address.
 */
export function networkOf(address: string): { family: 4 | 6; network: string } | undefined {
  const plain = plainAddress(address)
  if (isIPv4(plain)) return { family: 4, network: plain.split('.').slice(0, 2).join('.') }
  if (!isIPv6(plain)) return undefined
  // The first 32 bits of any way to write it.
  const [head = '', tail] = plain.toLowerCase().split('::')
  const groups = head === '' ? [] : head.split(':')
  const first = tail === undefined ? groups : [...groups, '0', '0']
  const network = first
    .slice(0, 2)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')
  return { family: 6, network }
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
