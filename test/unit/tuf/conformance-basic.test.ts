import { expect, test } from 'vitest'

import { Simulator } from '../../support/tuf-simulator.ts'

// The cases of the public conformance suite for TUF clients, under its names, for the verifier of the device.
const day = 86_400_000
const all = ['root', 'targets', 'snapshot', 'timestamp'] as const

test('basic_refresh_requests', async () => {
  const repository = new Simulator()
  const client = repository.client()
  expect(repository.requests).toEqual([])
  expect(await client.refresh()).toBe(true)
  expect(repository.requests).toEqual(['root 2', 'timestamp', 'snapshot 1', 'targets 1'])
  repository.requests.length = 0
  expect(await client.refresh()).toBe(true)
  expect(repository.requests).toEqual(['root 2', 'timestamp'])
})

test('basic_refresh_trusted_data', async () => {
  const repository = new Simulator()
  const client = repository.client()
  expect(client.trusted()).toEqual(['root 1'])
  expect(await client.refresh()).toBe(true)
  for (const role of ['root', 'timestamp', 'snapshot', 'targets'] as const) {
    expect(client.state[role]).toBe(repository.published.get(role)?.[0])
  }
})

test('implicit_refresh', async () => {
  const repository = new Simulator()
  const client = repository.client()
  expect(await client.download('nonexistent target')).toBe(false)
  expect(client.trusted().sort()).toEqual(['root 1', 'snapshot 1', 'targets 1', 'timestamp 1'])
})

test('invalid_initial_root', async () => {
  const repository = new Simulator()
  const root = repository.published.get('root')?.[0] ?? ''
  expect(await repository.client(root.replace('"version": 1,', '')).refresh()).toBe(false)
  expect(repository.requests).toEqual([])
  expect(await repository.client(root).refresh()).toBe(true)
})

test('unsigned_initial_root', async () => {
  const repository = new Simulator()
  const other = new Simulator()
  other.rotate('root')
  other.publish('root')
  const stolen = JSON.parse(repository.published.get('root')?.[0] ?? '')
  const { signatures } = JSON.parse(other.published.get('root')?.[1] ?? '')
  const unsigned = { ...stolen, signatures: [{ ...stolen.signatures[0], sig: signatures[0].sig }] }
  expect(await repository.client(JSON.stringify(unsigned)).refresh()).toBe(false)
  expect(repository.requests).toEqual([])
})

test.each([
  ['root', ['root 1']],
  ['timestamp', ['root 2']],
  ['snapshot', ['root 2', 'timestamp 2']],
  ['targets', ['root 2', 'snapshot 2', 'timestamp 2']],
] as const)('unsigned_metadata [%s]', async (role, trusted) => {
  const repository = new Simulator()
  repository.signers.set(role, [])
  repository.publish(...all)
  const client = repository.client()
  expect(await client.refresh()).toBe(false)
  expect(client.trusted().sort()).toEqual(trusted)
})

test.each([
  ['root', ['root 1']],
  ['snapshot', ['root 2', 'timestamp 2']],
  ['targets', ['root 2', 'snapshot 2', 'timestamp 2']],
] as const)('url_and_metadata_version_mismatch [%s]', async (role, trusted) => {
  const repository = new Simulator()
  repository.of(role).version += 1
  repository.publish(...all)
  // The name that leads to it is that of version 2; what is inside says 3.
  if (role !== 'root') {
    const above = role === 'snapshot' ? 'timestamp' : 'snapshot'
    repository.metaOf(above, `${role}.json`).version = 2
    for (const file of role === 'targets' ? ['snapshot', 'timestamp'] : ['timestamp']) {
      repository.tamper(file, () => repository.sign(file))
    }
  }
  const client = repository.client()
  expect(await client.refresh()).toBe(false)
  expect(client.trusted().sort()).toEqual(trusted)
})

test('timestamp_content_changes', async () => {
  const repository = new Simulator()
  const client = repository.client()
  expect(await client.refresh()).toBe(true)
  repository.metaOf('timestamp', 'snapshot.json').version = 100
  repository.restart('timestamp')
  repository.publish('timestamp')
  expect(await client.refresh()).toBe(true)
  expect(repository.requests.at(-1)).toBe('timestamp')
  expect(JSON.parse(client.state.timestamp ?? '').signed.meta['snapshot.json'].version).toBe(1)
})

test('basic_metadata_hash_support', async () => {
  const repository = new Simulator()
  repository.withHashes = true
  repository.publish('targets', 'snapshot', 'timestamp')
  const client = repository.client()
  expect(await client.refresh()).toBe(true)
  expect(client.version('targets')).toBe(2)
})

/** A client of a repository that names its files with hashes. */
async function hashing(): Promise<{
  repository: Simulator
  client: ReturnType<Simulator['client']>
}> {
  const repository = new Simulator()
  repository.withHashes = true
  repository.publish('targets', 'snapshot', 'timestamp')
  const client = repository.client()
  expect(await client.refresh()).toBe(true)
  return { repository, client }
}

test('targets_hash_mismatch', async () => {
  const { repository, client } = await hashing()
  repository.publish('targets')
  repository.metaOf('snapshot', 'targets.json').hashes = { sha256: '0'.repeat(64) }
  repository.publish('snapshot', 'timestamp')
  expect(await client.refresh()).toBe(false)
  expect(client.version('snapshot')).toBe(3)
  expect(client.version('targets')).toBe(2)
})

test('snapshot_hash_mismatch', async () => {
  const { repository, client } = await hashing()
  repository.publish('snapshot')
  repository.metaOf('timestamp', 'snapshot.json').hashes = { sha256: '0'.repeat(64) }
  repository.publish('timestamp')
  expect(await client.refresh()).toBe(false)
  expect(client.version('snapshot')).toBe(2)
  expect(client.version('timestamp')).toBe(3)
})

test('metadata_bytes_match', async () => {
  const repository = new Simulator()
  repository.tamper('timestamp', (text) => `${text} `)
  const client = repository.client()
  expect(await client.refresh()).toBe(true)
  expect(client.state.timestamp).toBe(repository.published.get('timestamp')?.[0])
})

test('custom_fields', async () => {
  const repository = new Simulator()
  const client = repository.client()
  expect(await client.refresh()).toBe(true)
  repository.of('root')['custom-field'] = 'value'
  const signer = repository.newSigner()
  repository.addKey('root', {
    ...signer,
    public: { ...signer.public, 'extra-field': { a: 1, b: 2 } },
  })
  Object.assign(repository.roleOf('root'), { 'another-field': 'value' })
  repository.publish('root')
  expect(await client.refresh()).toBe(true)
  expect(client.version('root')).toBe(2)
})

test('deprecated_keyid_hash_algorithms', async () => {
  const repository = new Simulator()
  const client = repository.client()
  const signer = repository.newSigner()
  repository.setKeys('snapshot', [
    { ...signer, public: { ...signer.public, keyid_hash_algorithms: 'md5' } },
  ])
  repository.publish('root', 'snapshot', 'timestamp')
  expect(await client.refresh()).toBe(true)
  expect([client.version('root'), client.version('snapshot')]).toEqual([2, 2])
})

test('snapshot_404', async () => {
  const repository = new Simulator()
  const client = repository.client()
  expect(await client.refresh()).toBe(true)
  repository.metaOf('timestamp', 'snapshot.json').version = 2
  repository.publish('timestamp')
  expect(await client.refresh()).toBe(false)
  expect(repository.requests.at(-1)).toBe('snapshot 2')
  expect(client.trusted().sort()).toEqual(['root 1', 'snapshot 1', 'targets 1', 'timestamp 2'])
})

test('targets_404', async () => {
  const repository = new Simulator()
  const client = repository.client()
  expect(await client.refresh()).toBe(true)
  repository.metaOf('snapshot', 'targets.json').version = 2
  repository.publish('snapshot', 'timestamp')
  expect(await client.refresh()).toBe(false)
  expect(repository.requests.at(-1)).toBe('targets 2')
  expect(client.trusted().sort()).toEqual(['root 1', 'snapshot 2', 'targets 1', 'timestamp 2'])
})

test('timestamp_404', async () => {
  const repository = new Simulator()
  const client = repository.client()
  expect(await client.refresh()).toBe(true)
  repository.published.delete('timestamp')
  expect(await client.refresh()).toBe(false)
  expect(repository.requests.at(-1)).toBe('timestamp')
})

test('incorrect_metadata_type', async () => {
  const repository = new Simulator()
  const client = repository.client()
  const [timestampKey] = repository.signers.get('timestamp') ?? []
  repository.addKey('snapshot', timestampKey)
  repository.of('snapshot').meta = { 'snapshot.json': { version: 1 } }
  repository.publish('root', 'snapshot')
  const lookalike = repository.published.get('snapshot')?.at(-1) ?? ''
  repository.published.set('timestamp', ['', lookalike])
  expect(await client.refresh()).toBe(false)
  expect(client.trusted()).toEqual(['root 2'])
})

test('faketime', async () => {
  const repository = new Simulator()
  const client = repository.client()
  repository.of('root').expires = repository.in(7)
  repository.publish('root')
  expect(await client.refresh()).toBe(true)
  expect(await client.refresh(new Date(repository.now.getTime() + 8 * day))).toBe(false)
})
