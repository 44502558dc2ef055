import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { Admission, type AdmissionLimits, networkOf } from '../../server/admission.ts'
import { createMetrics } from '../../server/metrics.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }))
afterEach(() => void vi.useRealTimers())

function world(limits: Partial<AdmissionLimits> = {}) {
  const metrics = createMetrics()
  const admission = new Admission(
    { atOnce: 8, perSecond: 1_000, maxWaiting: 20, lentMs: 3_000, ...limits },
    metrics,
  )
  const begun: { socket: Socket; from: string }[] = []
  const refused: string[] = []
  const come = (from: string, waitMs = 10_000) => {
    const events = new EventEmitter()
    const socket = Object.assign(events, {
      remoteAddress: from,
      resetAndDestroy: () => events.emit('close'),
    }) as unknown as Socket
    admission.admit(socket, waitMs, {
      start: () => begun.push({ socket, from }),
      refused: (why) => refused.push(`${from} ${why}`),
    })
    return socket
  }
  const many = (count: number, from: (n: number) => string) =>
    Array.from({ length: count }, (_, n) => come(from(n)))
  return { admission, metrics, begun, refused, come, many }
}

const elsewhere = (n: number) => `10.0.0.${n}`
const here = () => '192.0.2.7'

describe('admission', () => {
  it('begins at once while there is room, and then one for each that ends', () => {
    const { admission, begun, many } = world()
    const sockets = many(10, elsewhere)
    expect(begun).toHaveLength(8)
    expect([admission.inProgress, admission.waiting]).toEqual([8, 2])
    for (const socket of sockets.slice(0, 2)) admission.ended(socket)
    expect(begun).toHaveLength(10)
    for (const socket of sockets) socket.emit('close')
    expect([admission.inProgress, admission.waiting]).toEqual([0, 0])
  })

  it('leaves nothing of what went while it waited, and counts an end once', async () => {
    const { admission, metrics, many, begun } = world()
    const sockets = many(12, elsewhere)
    for (const socket of sockets.slice(8)) socket.emit('close')
    expect(admission.waiting).toBe(0)
    for (const socket of sockets.slice(0, 8)) {
      admission.ended(socket)
      socket.emit('close')
    }
    expect(begun).toHaveLength(8)
    expect((await metrics.handshakesInProgress.get()).values[0]?.value).toBe(0)
    expect((await metrics.connectionsWaiting.get()).values[0]?.value).toBe(0)
  })

  it('begins no more in a second than its rate', () => {
    const { admission, begun, come } = world({ perSecond: 10, maxWaiting: 100 })
    for (let n = 0; n < 40; n++) admission.ended(come(elsewhere(n)))
    expect(begun).toHaveLength(10)
    for (let step = 0; step < 50; step++) {
      vi.advanceTimersByTime(20)
      for (const { socket } of begun) admission.ended(socket)
    }
    expect(begun.length).toBeGreaterThanOrEqual(18)
    expect(begun.length).toBeLessThanOrEqual(20)
  })

  it('keeps a quarter of its slots from an address that has half of them', () => {
    const { begun, many, come } = world()
    many(20, here)
    expect(begun).toHaveLength(6)
    come('10.0.0.1')
    expect(begun.at(-1)?.from).toBe('10.0.0.1')
  })

  it('takes turns by address, so that a crowd from one does not keep others waiting', () => {
    const { admission, begun, many, come } = world({ maxWaiting: 100 })
    const first = many(8, elsewhere)
    many(50, here)
    come('10.0.1.1')
    come('10.0.1.2')
    for (const socket of first.slice(0, 3)) admission.ended(socket)
    expect(begun.slice(8).map(({ from }) => from)).toEqual(['192.0.2.7', '10.0.1.1', '10.0.1.2'])
  })
})

describe('what waits', () => {
  it('lends the slot of a silent handshake on after three seconds', () => {
    const { admission, begun, many, come } = world()
    many(8, elsewhere)
    come('10.0.1.1')
    vi.advanceTimersByTime(2_900)
    expect(begun).toHaveLength(8)
    vi.advanceTimersByTime(200)
    expect(begun).toHaveLength(9)
    expect(admission.inProgress).toBeLessThanOrEqual(8)
  })

  it('resets what waited too long', () => {
    const { admission, begun, many, come, refused } = world({ lentMs: 60_000 })
    many(8, elsewhere)
    come('10.0.1.1', 500)
    vi.advanceTimersByTime(600)
    expect(refused).toEqual(['10.0.1.1 late'])
    expect([begun.length, admission.waiting]).toEqual([8, 0])
  })

  it('makes room in a full room for who has fewer waiting', async () => {
    const { admission, many, come, refused, metrics } = world()
    many(8, elsewhere)
    many(20, here)
    expect(refused).toEqual([])
    come('192.0.2.7')
    come('10.0.1.1')
    expect(refused).toEqual(['192.0.2.7 full', '192.0.2.7 full'])
    expect(admission.waiting).toBe(20)
    expect((await metrics.connectionsRefused.get()).values).toMatchObject([
      { labels: { reason: 'full' }, value: 2 },
    ])
  })
})

describe('one place', () => {
  it.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:db8::1', '2001:db8:0:0'],
    ['::1', '0:0:0:0'],
    ['fe80::1%eth0', 'fe80:0:0:0'],
  ])('%s is of %s', (address, network) => {
    expect(networkOf(address)).toBe(network)
  })
})
