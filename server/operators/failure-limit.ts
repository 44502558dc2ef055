import { isIPv6 } from 'node:net'

import { DomainError } from '../errors.ts'

/** Attempts at once, and as many more each minute. */
const failuresPerMinute = 20
const beginningsPerMinute = 60
const maxAddresses = 4_096

interface Bucket {
  left: number
  at: number
}

/**
 * How many failed attempts one remote address has left: 20 at once, 20 more a minute. Holds 4,096 addresses; the one that
 * failed longest ago makes room for a new one.
 */
export class FailureLimit {
  readonly #buckets = new Map<string, Bucket>()
  readonly #perMinute: number

  constructor(perMinute = failuresPerMinute) {
    this.#perMinute = perMinute
  }

  /** True while the address may try again. */
  allows(address: string, now: Date): boolean {
    return this.#current(address, now).left >= 1
  }

  /** Takes one attempt from the address. Returns true when this was its last: the moment to tell somebody. */
  failed(address: string, now: Date): boolean {
    const name = networkOf(address)
    const { left } = this.#current(address, now)
    const bucket = { left: Math.max(0, left - 1), at: now.getTime() }
    this.#buckets.delete(name)
    this.#buckets.set(name, bucket)
    const [oldest] = this.#buckets.keys()
    if (this.#buckets.size > maxAddresses && oldest !== undefined) this.#buckets.delete(oldest)
    return left >= 1 && bucket.left < 1
  }

  #current(address: string, now: Date): Bucket {
    const bucket = this.#buckets.get(networkOf(address))
    if (!bucket) return { left: this.#perMinute, at: now.getTime() }
    const minutes = Math.max(0, now.getTime() - bucket.at) / 60_000
    return {
      left: Math.min(this.#perMinute, bucket.left + minutes * this.#perMinute),
      at: bucket.at,
    }
  }
}

/**
 * Sign-ins that nothing was shown for yet are kept until they are over, and only so many of all people: 60 at once from one network, 60 more a minute, so that no
 * stranger crowds out the rest. One for a process.
 */
export class BeginLimit {
  readonly #limit = new FailureLimit(beginningsPerMinute)

  /** @throws DomainError `rate-limited` */
  begin(address: string, now: Date): void {
    if (!this.#limit.allows(address, now)) {
      throw new DomainError(
        'rate-limited',
        'Too many sign-ins are begun in your network: wait a moment',
        { retryAfterSeconds: 5 },
      )
    }
    this.#limit.failed(address, now)
  }
}

/** An IPv4 address, or the /64 of an IPv6 address: whoever has one address of it has all of them. */
export function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (mapped?.[1] !== undefined) return mapped[1]
  if (!isIPv6(address)) return address
  const [plain = ''] = address.split('%')
  const [head = '', tail] = plain.split('::')
  const before = head.split(':').filter(Boolean)
  const after = (tail ?? '').split(':').filter(Boolean)
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length
  const groups = [...before, ...Array.from({ length: Math.max(0, zeros) }, () => '0'), ...after]
  return `${groups.slice(0, 4).join(':')}::/64`
}
