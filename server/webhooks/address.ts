import { BlockList, isIP } from 'node:net'

import { DomainError } from '../errors.ts'

/** Not reachable over the public internet, or not one host: RFC 6890 and its updates. */
const special = new BlockList()
for (const [net, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
] as const) {
  special.addSubnet(net, bits, 'ipv4')
}
/** All there is of IPv6 to reach; the rest is local, reserved, or leads back to IPv4. */
const global6 = new BlockList()
global6.addSubnet('2000::', 3, 'ipv6')
const special6 = new BlockList()
for (const [net, bits] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const) {
  special6.addSubnet(net, bits, 'ipv6')
}

/** Is this an address that a server inside must not be made to call? Anything that is no address is one too. */
export function isPrivateAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return special.check(address, 'ipv4')
    case 6:
      return !global6.check(address, 'ipv6') || special6.check(address, 'ipv6')
    default:
      return true
  }
}

/**
 * Where a webhook may go (`at` names the field for a refusal): https, no credentials, and not to an address of a private network unless the installation allows it
 * (then also plain http). What a name resolves to is checked when it is called.
 *
 * @throws DomainError `invalid-request`
 */
export function readWebhookUrl(
  text: string,
  { isPrivateAllowed, at }: { isPrivateAllowed: boolean; at: string },
): URL {
  const refused = (message: string) =>
    new DomainError('invalid-request', `${at} ${message}`, { issues: [{ at, message }] })
  const url = URL.parse(text)
  const isSchemeFine = url?.protocol === 'https:' || (isPrivateAllowed && url?.protocol === 'http:')
  if (!url || !isSchemeFine) throw refused('must be an https:// address')
  if (url.username !== '' || url.password !== '' || url.hash !== '') {
    throw refused('must be without user, password and fragment')
  }
  const host = hostOf(url)
  if (!isPrivateAllowed && isIP(host) !== 0 && isPrivateAddress(host)) {
    throw refused(
      'is an address of a private network: set FLEETSEAL_WEBHOOK_PRIVATE=allow on the server to permit that',
    )
  }
  return url
}

/** Without the brackets of IPv6. */
export function hostOf(url: URL): string {
  return url.hostname.replaceAll(/^\[|\]$/g, '')
}
