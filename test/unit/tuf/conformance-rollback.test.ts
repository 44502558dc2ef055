import { expect, test } from 'vitest'

import { type Client, Simulator } from '../../support/tuf-simulator.ts'

// The cases of the public conformance suite for TUF clients, under its names: rollback and fast-forward, rotation of keys.

function start(): { repository: Simulator; client: Client } {
  const repository = new Simulator()
  return { repository, client: repository.client() }
}

test('new_timestamp_version_rollback', async () => {
  const { repository, client } = start()
  repository.publish('timestamp')
  expect(await client.refresh()).toBe(true)
  expect(client.version('timestamp')).toBe(2)
  repository.restart('timestamp')
  repository.publish('timestamp')
  expect(await client.refresh()).toBe(false)
  expect(client.version('timestamp')).toBe(2)
  expect(repository.requests.at(-1)).toBe('timestamp')
})

for (const [name, withHashes] of [
  ['basic', false],
  ['with hashes', true],
] as const) {
  test(`snapshot_rollback [${name}]`, async () => {
    const { repository, client } = start()
    repository.withHashes = withHashes
    repository.publish('snapshot', 'timestamp')
    expect(await client.refresh()).toBe(true)
    repository.restart('snapshot')
    repository.publish('snapshot', 'timestamp')
    expect(await client.refresh()).toBe(false)
    expect([client.version('timestamp'), client.version('snapshot')]).toEqual([2, 2])
    expect(repository.requests.at(-1)).toBe('timestamp')
  })

  test(`targets_rollback [${name}]`, async () => {
    const { repository, client } = start()
    repository.withHashes = withHashes
    repository.publish('targets', 'snapshot', 'timestamp')
    expect(await client.refresh()).toBe(true)
    repository.restart('targets')
    repository.publish('targets', 'snapshot', 'timestamp')
    expect(await client.refresh()).toBe(false)
    expect([client.version('snapshot'), client.version('targets')]).toEqual([2, 2])
  })
}

test('targets_role_removal', async () => {
  const { repository, client } = start()
  repository.delegate('targets', 'delegated', { paths: ['delegatedpath/*'] })
  repository.publish('delegated', 'targets', 'snapshot', 'timestamp')
  expect(await client.refresh()).toBe(true)
  delete repository.of('snapshot').meta?.['delegated.json']
  repository.publish('snapshot', 'timestamp')
  expect(await client.refresh()).toBe(false)
  expect(client.version('snapshot')).toBe(2)
})

/** Lets a role come to version 100 without signing the ones between. */
function fastForward(repository: Simulator, role: string): void {
  repository.of(role).version = 99
  repository.published.set(
    role,
    Array.from({ length: 99 }, () => ''),
  )
  repository.publish(role)
}

test('targets_fast_forward_recovery', async () => {
  const { repository, client } = start()
  repository.delegate('targets', 'delegated', { paths: ['delegatedpath/*'] })
  repository.publish('delegated')
  fastForward(repository, 'targets')
  repository.publish('snapshot', 'timestamp')
  expect(await client.refresh()).toBe(true)
  expect(client.version('targets')).toBe(100)
  repository.rotate('snapshot')
  repository.restart('targets')
  delete repository.of('snapshot').meta?.['delegated.json']
  repository.publish('root', 'targets', 'snapshot', 'timestamp')
  expect(await client.refresh()).toBe(true)
  expect(client.version('targets')).toBe(1)
})

test('new_snapshot_fast_forward_recovery', async () => {
  const { repository, client } = start()
  fastForward(repository, 'snapshot')
  repository.publish('timestamp')
  expect(await client.refresh()).toBe(true)
  expect(client.version('snapshot')).toBe(100)
  repository.rotate('snapshot')
  repository.rotate('timestamp')
  repository.restart('snapshot')
  repository.publish('root', 'targets', 'snapshot', 'timestamp')
  expect(await client.refresh()).toBe(true)
  expect(client.version('snapshot')).toBe(1)
})

test('new_timestamp_fast_forward_recovery', async () => {
  const { repository, client } = start()
  fastForward(repository, 'timestamp')
  expect(await client.refresh()).toBe(true)
  expect(client.version('timestamp')).toBe(100)
  repository.rotate('timestamp')
  repository.restart('timestamp')
  repository.publish('root', 'timestamp')
  expect(await client.refresh()).toBe(true)
  expect(client.version('timestamp')).toBe(1)
})

/** Keys of a root by number, how many must sign, and which do. */
type Version = [keys: number[], threshold: number, sigs: number[]]
const five = [0, 1, 2, 3, 4]
const changed = [0, 1, 3, 4, 5]
const rootCases: [string, boolean, ...Version[]][] = [
  ['1-of-1-key-rotation', true, [[1], 1, [1]], [[2], 1, [2, 1]], [[2], 1, [2]]],
  [
    '1-of-1-key-rotation-unused-signatures',
    true,
    [[1], 1, [3, 1, 4]],
    [[2], 1, [3, 2, 1, 4]],
    [[2], 1, [3, 2, 4]],
  ],
  [
    '3-of-5-sign-with-different-keycombos',
    true,
    [five, 3, [0, 2, 4]],
    [five, 3, [0, 4, 1]],
    [five, 3, [0, 1, 3]],
  ],
  ['3-of-5-one-key-rotated', true, [five, 3, [0, 2, 4]], [changed, 3, [0, 4, 1]]],
  [
    '3-of-5-one-key-rotated-with-intermediate-step',
    true,
    [five, 3, [0, 2, 4]],
    [changed, 3, [0, 2, 4, 5]],
    [changed, 3, [0, 4, 5]],
  ],
  [
    '3-of-5-all-keys-rotated-with-intermediate-step',
    true,
    [five, 3, [0, 2, 4]],
    [[5, 6, 7, 8, 9], 3, [0, 2, 4, 5, 6, 7]],
    [[5, 6, 7, 8, 9], 3, [5, 6, 7]],
  ],
  ['1-of-3-threshold-increase-to-2-of-3', true, [[1, 2, 3], 1, [1]], [[1, 2, 3], 2, [1, 2]]],
  [
    '2-of-3-threshold-decrease-to-1-of-3',
    true,
    [[1, 2, 3], 2, [1, 2]],
    [[1, 2, 3], 1, [1, 2]],
    [[1, 2, 3], 1, [1]],
  ],
  ['1-of-2-threshold-increase-to-2-of-2', true, [[1], 1, [1]], [[1, 2], 2, [1, 2]]],
  ['1-of-1-key-rotation-fail-not-signed-with-old-key', false, [[1], 1, [1]], [[2], 1, [2, 3, 4]]],
  ['1-of-1-key-rotation-fail-not-signed-with-new-key', false, [[1], 1, [1]], [[2], 1, [1, 3, 4]]],
  [
    '3-of-5-one-key-rotate-fails-not-signed-with-3-new-keys',
    false,
    [five, 3, [0, 2, 4]],
    [changed, 3, [0, 2, 4]],
  ],
  [
    '3-of-5-one-key-rotate-fails-not-signed-with-3-old-keys',
    false,
    [five, 3, [0, 2, 4]],
    [changed, 3, [0, 4, 5]],
  ],
  [
    '1-of-3-threshold-bump-to-2-of-3-fails-new-threshold-not-reached',
    false,
    [[1, 2, 3], 1, [1]],
    [[1, 2, 3], 2, [2]],
  ],
  [
    '2-of-3-threshold-decr-to-1-of-3-fails-old-threshold-not-reached',
    false,
    [[1, 2, 3], 2, [1, 2]],
    [[1, 2, 3], 1, [1]],
  ],
]

test.each(rootCases)('root_rotation [%s]', async (_, holds, ...versions) => {
  const repository = new Simulator()
  repository.restart('root')
  const signers = Array.from({ length: 10 }, () => repository.newSigner())
  const pick = (numbers: number[]) => numbers.flatMap((at) => signers[at] ?? [])
  for (const [keys, threshold, sigs] of versions) {
    repository.setKeys('root', pick(keys), threshold, pick(sigs))
    repository.publish('root')
  }
  repository.publish('targets', 'snapshot', 'timestamp')
  const client = repository.client()
  expect(await client.refresh()).toBe(holds)
  expect(client.state.root).toBe(repository.published.get('root')?.at(holds ? -1 : -2))
})

const otherCases: [string, boolean, Version][] = [
  ['1-of-1-key-rotation', true, [[2], 1, [2]]],
  ['1-of-1-key-rotation-unused-signatures', true, [[1], 1, [3, 1, 4]]],
  ['1-of-1-key-rotation-fail-not-signed-with-new-key', false, [[2], 1, [1, 3, 4]]],
  [
    '3-of-5-one-key-signature-wrong-not-signed-with-3-expected-keys',
    false,
    [changed, 3, [0, 2, 4]],
  ],
  ['2-of-5-one-key-signature-missing-threshold-not-reached', false, [changed, 3, [0, 4]]],
  ['3-of-5-sign-first-combo', true, [five, 3, [0, 2, 4]]],
  ['3-of-5-sign-second-combo', true, [five, 3, [0, 4, 1]]],
  ['3-of-5-sign-third-combo', true, [five, 3, [0, 1, 3]]],
  ['3-of-5-sign-fourth-combo', true, [five, 3, [1, 2, 3]]],
  ['3-of-5-sign-fifth-combo', true, [five, 3, [2, 3, 4]]],
]

test.each(otherCases)('non_root_rotations [%s]', async (_, holds, [keys, threshold, sigs]) => {
  for (const role of ['timestamp', 'snapshot', 'targets'] as const) {
    const { repository, client } = start()
    const signers = Array.from({ length: 10 }, () => repository.newSigner())
    const pick = (numbers: number[]) => numbers.flatMap((at) => signers[at] ?? [])
    repository.setKeys(role, pick(keys), threshold, pick(sigs))
    repository.publish('root', 'targets', 'snapshot', 'timestamp')
    expect(await client.refresh()).toBe(holds)
    const latest = repository.published.get(role)?.at(-1)
    expect(client.state[role] === latest).toBe(holds)
  }
})
