import { expect, test } from 'vitest'

import { StockClient } from '../../../device-sim/conformance/client.ts'
import { World } from '../../support/tuf-fixture.ts'
import { Simulator } from '../../support/tuf-simulator.ts'

// The cases of the public conformance suite for TUF clients, under its names: the search through delegations.

type Edge = [delegator: string, role: string, options?: { paths?: string[]; terminating?: boolean }]

function delegating(...edges: Edge[]): Simulator {
  const repository = new Simulator()
  for (const [delegator, role, options] of edges) repository.delegate(delegator, role, options)
  repository.publish(...new Set(edges.flatMap(([delegator, role]) => [role, delegator])))
  repository.publish('snapshot', 'timestamp')
  repository.requests.length = 0
  return repository
}

/** Roles asked for after the four at the top. */
const visited = ({ requests }: Simulator) => requests.slice(4).map((one) => one.replace(/ 1$/, ''))

const py = { paths: ['*.py'] }
const end = { terminating: true }
const graphs: [string, Edge[], string[]][] = [
  ['basic-delegation', [['targets', 'A']], ['A']],
  [
    'single-level-delegations',
    [
      ['targets', 'A'],
      ['targets', 'B'],
    ],
    ['A', 'B'],
  ],
  [
    'two-level-delegations',
    [
      ['targets', 'A'],
      ['targets', 'B'],
      ['B', 'C'],
    ],
    ['A', 'B', 'C'],
  ],
  [
    'two-level-test-DFS-order-of-traversal',
    [
      ['targets', 'A'],
      ['targets', 'B'],
      ['A', 'C'],
      ['A', 'D'],
    ],
    ['A', 'C', 'D', 'B'],
  ],
  [
    'three-level-delegation-test-DFS-order-of-traversal',
    [
      ['targets', 'A'],
      ['targets', 'B'],
      ['A', 'C'],
      ['C', 'D'],
    ],
    ['A', 'C', 'D', 'B'],
  ],
  [
    'two-level-terminating-ignores-all-but-roles-descendants',
    [
      ['targets', 'A'],
      ['targets', 'B'],
      ['A', 'C', end],
      ['A', 'D'],
    ],
    ['A', 'C'],
  ],
  [
    'three-level-terminating-ignores-all-but-roles-descendants',
    [
      ['targets', 'A'],
      ['targets', 'B'],
      ['A', 'C', end],
      ['C', 'D'],
    ],
    ['A', 'C', 'D'],
  ],
  [
    'two-level-ignores-all-branches-not-matching-paths',
    [
      ['targets', 'A', py],
      ['targets', 'B'],
      ['A', 'C'],
    ],
    ['B'],
  ],
  [
    'three-level-ignores-all-branches-not-matching-paths',
    [
      ['targets', 'A'],
      ['targets', 'B'],
      ['A', 'C', py],
      ['C', 'D'],
    ],
    ['A', 'B'],
  ],
  [
    'cyclic-graph',
    [
      ['targets', 'A'],
      ['targets', 'B'],
      ['B', 'C'],
      ['C', 'D'],
      ['D', 'B'],
    ],
    ['A', 'B', 'C', 'D'],
  ],
  [
    'two-roles-delegating-to-a-third',
    [
      ['targets', 'A'],
      ['targets', 'B'],
      ['B', 'C'],
      ['A', 'C'],
    ],
    ['A', 'C', 'B'],
  ],
  [
    'two-roles-delegating-to-a-third-different-paths',
    [
      ['targets', 'A'],
      ['targets', 'B'],
      ['B', 'C'],
      ['A', 'C', py],
    ],
    ['A', 'B', 'C'],
  ],
]

test.each(graphs)('graph_traversal [%s]', async (_, edges, order) => {
  const repository = delegating(...edges)
  expect(await repository.client().download('missingpath')).toBe(false)
  // A published file has version 1 or, when its delegations came later, 2.
  expect(visited(repository).map((one) => one.replace(/ \d+$/, ''))).toEqual(order)
})

const tree = (): Simulator => {
  const repository = delegating(
    ['targets', 'A', { paths: ['*.doc', '*.md', 'foo-?.tgz'] }],
    ['targets', 'B', { paths: ['releases/*/*'] }],
    ['B', 'C', { paths: ['releases/x/*'] }],
    ['B', 'D', { paths: ['releases/y/*.zip'] }],
  )
  const files: [string, string][] = [
    ['targets', 'targetfile'],
    ['A', 'README.md'],
    ['A', 'releases/README.md'],
    ['A', 'foo-1.tgz'],
    ['A', 'foo-alpha.tgz'],
    ['C', 'releases/x/x_v1'],
    ['D', 'releases/y/y_v1.zip'],
    ['D', 'releases/z/z_v1.zip'],
  ]
  for (const [role, path] of files) repository.addArtifact(role, `${path} by ${role}`, path)
  repository.publish('A', 'C', 'D', 'targets', 'snapshot', 'timestamp')
  repository.requests.length = 0
  return repository
}

test.each([
  ['no delegations', 'targetfile', 'targets', []],
  ['targetpath matches wildcard', 'README.md', 'A', ['A']],
  ['targetpath with separators x', 'releases/x/x_v1', 'C', ['B', 'C']],
  ['targetpath with separators y', 'releases/y/y_v1.zip', 'D', ['B', 'D']],
  ['targetpath is not delegated by all roles in the chain', 'releases/z/z_v1.zip', '', ['B']],
  ['wildcard does not match path separator', 'releases/README.md', '', []],
  ['targetpath matches question mark wildcard', 'foo-1.tgz', 'A', ['A']],
  ['targetpath does not match question mark wildcard', 'foo-alpha.tgz', '', []],
  ['targetpath matching is case sensitive', 'README.MD', '', []],
])('targetfile_search [%s]', async (_, path, role, order) => {
  const repository = tree()
  const client = repository.client()
  expect(await client.download(path)).toBe(role !== '')
  expect(client.downloaded.get(path)).toBe(role === '' ? undefined : `${path} by ${role}`)
  expect(visited(repository).map((one) => one.replace(/ \d+$/, ''))).toEqual(order)
})

test('cached_role_is_verified_against_current_delegator', async () => {
  const repository = new Simulator()
  for (const team of ['a', 'b']) {
    const paths = [`team-${team}/*`]
    repository.delegate('targets', `parent-${team}`, { paths })
    repository.delegate(`parent-${team}`, 'release', { paths })
  }
  // Both parents gave the role a key; only that of the first one signs.
  repository.signers.set('release', (repository.signers.get('release') ?? []).slice(0, 1))
  repository.addArtifact('release', 'trusted A', 'team-a/file')
  repository.addArtifact('release', 'malicious B', 'team-b/file')
  repository.publish('release', 'parent-a', 'parent-b', 'targets', 'snapshot', 'timestamp')
  const client = repository.client()
  expect(await client.download('team-a/file', 'team-b/file')).toBe(false)
  expect([...client.downloaded.values()]).toEqual(['trusted A'])
  // And from the store of an earlier run.
  expect(await client.download('team-b/file')).toBe(false)
})

test('delegation_not_in_snapshot', async () => {
  const repository = new Simulator()
  const client = repository.client()
  repository.delegate('targets', 'delegated', { paths: ['delegatedpath/*'] })
  repository.publish('delegated', 'targets')
  delete repository.of('snapshot').meta?.['delegated.json']
  repository.publish('snapshot', 'timestamp')
  expect(await client.refresh()).toBe(true)
  repository.requests.length = 0
  expect(await client.download('delegatedpath/foo')).toBe(false)
  expect(client.version('delegated')).toBeUndefined()
  expect(repository.requests).toEqual(['root 2', 'timestamp'])
})

test('static_repository', async () => {
  // Our own image repository, through a rotation of its root, as a stock client reads it.
  const world = World.honest()
  world.image.publishRoot()
  const [root = ''] = world.image.roots
  let saved = { root, delegated: {} }
  const path = 'fw/gate-2/2.4.1/main.bin'
  const served = world.image.served()
  const bytes = (text: string | undefined) => (text === undefined ? undefined : Buffer.from(text))
  const client = new StockClient(saved, {
    fetchMetadata: async (name) => bytes(Object.hasOwn(served, name) ? served[name] : undefined),
    fetchTarget: async () => Buffer.from('main 2.4.1'),
    save: async (state) => void (saved = state),
    now: () => world.now,
  })
  await client.refresh()
  const { isHeld, bytes: get } = await client.download(path)
  expect([isHeld, (await get()).toString()]).toEqual([false, 'main 2.4.1'])
  expect(Object.keys(saved.delegated)).toEqual(['fw-gate-2'])
})
