import { createHash } from 'node:crypto'

import { describe, expect, test } from 'vitest'

import { planRenewal, retryDelayMs } from '../../../device-sim/renewal-plan.ts'
import {
  defaultRenewalRules,
  type RenewableCertificate,
  type RenewalRules,
  renewalTimes,
} from '../../../server/enrollment/renewal-window.ts'
import { TestClock } from '../../support/clock.ts'

const hourMs = 3_600_000
const dayMs = 24 * hourMs
const start = Date.UTC(2030, 0, 1)
const day = (count: number) => new Date(start + count * dayMs)

function certificate(name: string, issuedAt = day(0), days = 90): RenewableCertificate {
  return {
    fingerprint: createHash('sha256').update(name).digest('hex'),
    notBefore: issuedAt,
    notAfter: new Date(issuedAt.getTime() + days * dayMs),
    issuedAt,
  }
}

const rules = (changes: Partial<RenewalRules> = {}) => ({ ...defaultRenewalRules, ...changes })

describe('when a certificate is renewed', () => {
  test('the window opens after 60 % of the life, and the hint is within 15 % from there', () => {
    for (const name of ['a', 'b', 'c', 'd']) {
      const times = renewalTimes(certificate(name), rules({ graceDays: 10 }))
      expect(times.opensAt).toEqual(day(54))
      expect(times.renewAt.getTime()).toBeGreaterThanOrEqual(day(54).getTime())
      expect(times.renewAt.getTime()).toBeLessThanOrEqual(day(67.5).getTime())
      expect(times.graceEndsAt).toEqual(day(100))
    }
  })

  test('the hint of one certificate is always the same, in whole seconds', () => {
    const [one, again] = [1, 2].map(() => renewalTimes(certificate('a', day(0), 1), rules()))
    expect(again).toEqual(one)
    expect((one?.renewAt.getTime() ?? 1) % 1000).toBe(0)
  })

  test('out of turn: certificates issued before an instant, spread over hours from then', () => {
    const changes = { issuedBefore: day(10), spreadHours: 12 }
    const old = renewalTimes(certificate('a'), rules(changes))
    expect(old.opensAt).toEqual(day(10))
    expect(old.renewAt.getTime()).toBeGreaterThanOrEqual(day(10).getTime())
    expect(old.renewAt.getTime()).toBeLessThanOrEqual(day(10.5).getTime())
    // The certificate that comes of it is not meant again.
    const next = renewalTimes(certificate('a', day(10.2)), rules(changes))
    expect(next.opensAt).toEqual(day(64.2))
  })

  test('R8 after another issuer took over, within a week', () => {
    const { opensAt, renewAt } = renewalTimes(certificate('a'), rules(), day(3))
    expect(opensAt).toEqual(day(3))
    expect(renewAt.getTime()).toBeLessThanOrEqual(day(10).getTime())
  })

  test('no rule puts it off to the end', () => {
    const late = rules({ opensPercent: 90, jitterPercent: 30 })
    for (let n = 0; n < 50; n++) {
      const { renewAt } = renewalTimes(certificate(`late ${n}`), late)
      expect(renewAt.getTime()).toBeLessThanOrEqual(day(85.5).getTime())
    }
  })
})

interface Member {
  certificate: RenewableCertificate
  failures: number
}

/** A fleet of devices that obey hints, hour by hour. */
class Fleet {
  readonly clock = new TestClock(day(0))
  readonly renewedAt: Date[] = []
  /** By the hour in which they do something next. */
  readonly #due = new Map<number, Member[]>()
  #random = 0

  constructor(count: number, issuedAt: (share: number) => Date) {
    for (let index = 0; index < count; index++) this.#issue(`${index}`, issuedAt(index / count))
  }

  /** Returns how many renewed in this hour; none while the server is away. */
  hour(isServerUp = true): number {
    const hour = this.#hourOf(this.clock.now())
    const members = this.#due.get(hour) ?? []
    this.#due.delete(hour)
    this.clock.advance({ seconds: 3600 })
    for (const member of members) {
      if (isServerUp) this.#renew(member)
      else this.#fail(member)
    }
    return isServerUp ? members.length : 0
  }

  #renew({ certificate: old }: Member): void {
    const now = this.clock.now()
    if (now > old.notAfter) throw new Error('It had ended')
    this.renewedAt.push(now)
    this.#issue(`next ${this.renewedAt.length}`, now)
  }

  #fail({ certificate: own, failures }: Member): void {
    const now = this.clock.now()
    const delayMs = retryDelayMs(own, { failures: failures + 1, now, random: this.#next() })
    this.#put(new Date(now.getTime() + delayMs), { certificate: own, failures: failures + 1 })
  }

  #issue(name: string, issuedAt: Date): void {
    const fresh = certificate(name, issuedAt)
    const hintAt = renewalTimes(fresh, defaultRenewalRules).renewAt
    const plan = planRenewal(fresh, { hintAt, now: issuedAt, random: this.#next() })
    this.#put(new Date(plan.renewAt), { certificate: fresh, failures: 0 })
  }

  #put(at: Date, member: Member): void {
    const hour = this.#hourOf(at)
    const there = this.#due.get(hour)
    if (there) there.push(member)
    else this.#due.set(hour, [member])
  }

  #hourOf(at: Date): number {
    return Math.floor((at.getTime() - start) / hourMs)
  }

  /** Even, and the same in each run. */
  #next(): number {
    this.#random = (this.#random + 0.618_033_988_75) % 1
    return this.#random
  }
}

describe('R9 a fleet of 100,000 devices whose certificates all end in the same week', () => {
  const count = 100_000
  const hours = 90 * 24

  test('renews without a spike, before any certificate ends', () => {
    const fleet = new Fleet(count, (share) => day(7 * share))
    const perHour = Array.from({ length: hours }, () => fleet.hour())
    expect(fleet.renewedAt).toHaveLength(count)
    // 13.5 days of jitter after a week of enrollment: 309 an hour if they stood perfectly even.
    expect(Math.max(...perHour)).toBeLessThan(450)
    expect(perHour.filter((one) => one > 0).length).toBeGreaterThan(18 * 24)
  })

  test('enrolled in a single hour it spreads just as well', () => {
    const fleet = new Fleet(count, () => day(0))
    const perHour = Array.from({ length: hours }, () => fleet.hour())
    expect(fleet.renewedAt).toHaveLength(count)
    expect(Math.max(...perHour)).toBeLessThan(450)
  })

  test('comes back spread out after the server was away for ten days of its window', () => {
    const fleet = new Fleet(count, (share) => day(7 * share))
    const isUp = (hour: number) => hour < 58 * 24 || hour >= 68 * 24
    const perHour = Array.from({ length: hours }, (_, hour) => fleet.hour(isUp(hour)))
    expect(fleet.renewedAt).toHaveLength(count)
    // More than half of the fleet is overdue: not all in the first hour, but over a day.
    expect(perHour.slice(0, 68 * 24).reduce((sum, one) => sum + one, 0)).toBeLessThan(count / 2)
    expect(Math.max(...perHour)).toBeLessThan(8_000)
  })
})
