import { describe, expect, test } from 'vitest'

import { defaultLimits } from '../../../server/mqtt/limits.ts'
import { checkConnect, checkFilter, checkPublish, grantsOf } from '../../../server/mqtt/policy.ts'

const own = '0190a1b2-0000-7000-8000-00000000000a'
const other = '0190a1b2-0000-7000-8000-00000000000b'
const plain = { qos: 1, retain: false }

describe('publishing', () => {
  test.each(['hello', 'report', 'choice', 'event', 'command-result'])(
    'its own %s is allowed',
    (leaf) => {
      expect(checkPublish(own, { ...plain, topic: `fleetseal/v1/${own}/${leaf}` })).toBe(leaf)
      expect(checkPublish(own, { ...plain, qos: 0, topic: `fleetseal/v1/${own}/${leaf}` })).toBe(
        leaf,
      )
    },
  )

  test.each([
    `fleetseal/v1/${other}/report`,
    `fleetseal/v1/${own}/bundle`,
    `fleetseal/v1/${own}/command`,
    `fleetseal/v1/${own}/unknown`,
    `fleetseal/v1/${own}/report/`,
    `fleetseal/v1/${own}/report/x`,
    `fleetseal/v1/${own}//report`,
    `/fleetseal/v1/${own}/report`,
    `fleetseal/v2/${own}/report`,
    `fleetseal/v1/${own.toUpperCase()}/report`,
    `fleetseal/v1/${own}`,
    `$SYS/fleetseal/v1/${own}/report`,
    `$SYS/x/new/clients`,
    'report',
    '',
    `fleetseal/v1/${own}/__proto__`,
    `fleetseal/v1/${own}/report\u0000`,
    'x'.repeat(65_535),
  ])('%.60s is refused', (topic) => {
    expect(() => checkPublish(own, { ...plain, topic })).toThrow('refused: topic-refused')
  })

  test('QoS 2 and retained messages are refused on its own topics too', () => {
    const topic = `fleetseal/v1/${own}/report`
    expect(() => checkPublish(own, { topic, qos: 2, retain: false })).toThrow(
      'refused: qos-refused',
    )
    expect(() => checkPublish(own, { topic, qos: 1, retain: true })).toThrow(
      'refused: retain-refused',
    )
  })
})

test('of all filters of up to four levels, only those of its own server leaves are allowed', () => {
  const levels = ['fleetseal', 'v1', own, other, '+', '#', '$SYS', 'bundle', 'command', 'report']
  const allowed: string[] = []
  const grow = (filter: string, depth: number) => {
    for (const level of levels) {
      const longer = filter === '' ? level : `${filter}/${level}`
      try {
        checkFilter(own, longer)
        allowed.push(longer)
      } catch {
        // refused
      }
      if (depth < 4) grow(longer, depth + 1)
    }
  }
  grow('', 1)
  expect(allowed.toSorted()).toEqual([
    `fleetseal/v1/${own}/#`,
    `fleetseal/v1/${own}/+`,
    `fleetseal/v1/${own}/bundle`,
    `fleetseal/v1/${own}/command`,
  ])
})

test('a leaf is sent at the highest QoS of a filter that covers it, and not when none does', () => {
  const at = (filters: Record<string, 0 | 1>) =>
    grantsOf(
      own,
      new Map(Object.entries(filters).map(([end, qos]) => [`fleetseal/v1/${own}/${end}`, qos])),
    )
  expect(at({})).toEqual({})
  expect(at({ command: 0 })).toEqual({ command: 0 })
  expect(at({ command: 1, bundle: 0 })).toEqual({ command: 1, bundle: 0 })
  expect(at({ '#': 0 })).toEqual({ bundle: 0, command: 0, chunk: 0 })
  expect(at({ '+': 1 })).toEqual({ bundle: 1, command: 1, chunk: 1 })
  expect(at({ '#': 0, '+': 0, chunk: 1 })).toEqual({ bundle: 0, command: 0, chunk: 1 })
  expect(at({ '#': 1, command: 0 })).toEqual({ bundle: 1, command: 1, chunk: 1 })
  expect(grantsOf(own, new Map([[`fleetseal/v1/${other}/command`, 1]]))).toEqual({})
})

test.each([
  [{ protocolVersion: 4, keepalive: 60 }, undefined],
  [{ protocolVersion: 4, keepalive: 1 }, undefined],
  [{ protocolVersion: 4, keepalive: 1_200 }, undefined],
  [{ protocolVersion: 4, keepalive: 0 }, 'keepalive-refused'],
  [{ protocolVersion: 4, keepalive: 1_201 }, 'keepalive-refused'],
  [{ protocolVersion: 4 }, 'keepalive-refused'],
  [{ protocolVersion: 3, keepalive: 60 }, 'protocol-version'],
  [{ protocolVersion: 5, keepalive: 60 }, 'protocol-version'],
  [{ protocolVersion: 4, keepalive: 60, bridgeMode: true }, 'protocol-version'],
  [{}, 'protocol-version'],
])('CONNECT %j: %s', (request, reason) => {
  const check = () => checkConnect(request, defaultLimits)
  if (reason) expect(check).toThrow(`refused: ${reason}`)
  else expect(check).not.toThrow()
})
