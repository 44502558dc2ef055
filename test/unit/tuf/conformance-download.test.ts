import { generateKeyPairSync } from 'node:crypto'

import { expect, test } from 'vitest'

import { signerOf, Simulator } from '../../support/tuf-simulator.ts'

// The cases of the public conformance suite for TUF clients, under its names: expiration, download, keys and quoting.
const day = 86_400_000
const path = 'target_file.txt'
const content = 'target file contents'

async function refreshed(): Promise<{
  repository: Simulator
  client: ReturnType<Simulator['client']>
}> {
  const repository = new Simulator()
  const client = repository.client()
  expect(await client.refresh()).toBe(true)
  return { repository, client }
}

test('root_expired', async () => {
  const { repository, client } = await refreshed()
  repository.publish('root')
  expect(await client.refresh()).toBe(true)
  repository.of('root').expires = repository.in(-1)
  repository.publish('root', 'targets', 'snapshot', 'timestamp')
  expect(await client.refresh()).toBe(false)
  expect(client.trusted().sort()).toEqual(['root 3', 'snapshot 1', 'targets 1', 'timestamp 1'])
})

test.each([
  ['timestamp_expired', 'timestamp', ['root 1', 'snapshot 1', 'targets 1', 'timestamp 1']],
  ['snapshot_expired', 'snapshot', ['root 1', 'snapshot 1', 'targets 1', 'timestamp 2']],
  ['targets_expired', 'targets', ['root 1', 'snapshot 2', 'targets 1', 'timestamp 2']],
] as const)('%s', async (_, role, trusted) => {
  const { repository, client } = await refreshed()
  repository.of(role).expires = repository.in(-5)
  const order = ['targets', 'snapshot', 'timestamp']
  repository.publish(...order.slice(order.indexOf(role)))
  expect(await client.refresh()).toBe(false)
  expect(client.trusted().sort()).toEqual(trusted)
})

test('expired_local_root', async () => {
  const repository = new Simulator()
  const client = repository.client()
  repository.of('root').expires = repository.in(7)
  repository.publish('root')
  expect(await client.refresh()).toBe(true)
  repository.of('root').expires = repository.in(21)
  repository.publish('root')
  expect(await client.refresh(new Date(repository.now.getTime() + 18 * day))).toBe(true)
  expect(client.version('root')).toBe(3)
})

test('expired_local_timestamp', async () => {
  const repository = new Simulator()
  const client = repository.client()
  repository.of('timestamp').expires = repository.in(7)
  repository.publish('timestamp')
  expect(await client.refresh()).toBe(true)
  repository.of('timestamp').expires = repository.in(21)
  repository.publish('targets', 'snapshot', 'timestamp')
  expect(await client.refresh(new Date(repository.now.getTime() + 18 * day))).toBe(true)
  expect(client.trusted().sort()).toEqual(['root 1', 'snapshot 2', 'targets 2', 'timestamp 3'])
})

test.each([
  ['client_downloads_expected_file', path],
  ['client_downloads_expected_file_in_sub_dir', `path/to/a/${path}`],
])('%s', async (_, name) => {
  const { repository, client } = await refreshed()
  repository.addArtifact('targets', content, name)
  repository.publish('targets', 'snapshot', 'timestamp')
  expect(await client.download(name)).toBe(true)
  expect([...client.downloaded]).toEqual([[name, content]])
})

test('repository_substitutes_target_file', async () => {
  const { repository, client } = await refreshed()
  repository.addArtifact('targets', content, path)
  repository.addArtifact('targets', 'content', 'another')
  repository.publish('targets', 'snapshot', 'timestamp')
  expect(await client.download(path)).toBe(true)
  for (const name of [path, 'another']) repository.artifacts.set(name, 'malicious data')
  await client.download(path)
  expect([...client.downloaded]).toEqual([[path, content]])
  expect(await client.download('another')).toBe(false)
  expect([...client.downloaded]).toEqual([[path, content]])
})

test('multiple_changes_to_target', async () => {
  const { repository, client } = await refreshed()
  const expected = new Map<string, string>()
  for (let turn = 0; turn <= 10; turn += 1) {
    repository.addArtifact('targets', `modified ${turn}`, path)
    repository.addArtifact('targets', `new ${turn}`, `new-${turn}`)
    repository.publish('targets', 'snapshot', 'timestamp')
    if (turn % 5 !== 0) continue
    expect(await client.download(path)).toBe(true)
    expect(await client.download(`new-${turn}`)).toBe(true)
    expected.set(path, `modified ${turn}`).set(`new-${turn}`, `new ${turn}`)
    repository.artifacts.set(path, `malicious ${turn}`)
    repository.publish('targets', 'snapshot', 'timestamp')
    await client.download(path)
    expect(client.downloaded).toEqual(expected)
  }
})

test.each([[['sha256']], [['sha512']], [['sha256', 'sha512']]])(
  'download_with_hash_algorithms %j',
  async (algorithms) => {
    const { repository, client } = await refreshed()
    repository.addArtifact('targets', content, path, algorithms)
    repository.publish('targets', 'snapshot', 'timestamp')
    expect(await client.download(path)).toBe(true)
    expect(repository.artifactRequests).toHaveLength(1)
    expect(client.downloaded.get(path)).toBe(content)
  },
)

test('download_with_unknown_hash_algorithm', async () => {
  const { repository, client } = await refreshed()
  repository.addArtifact('targets', content, path, ['sha512'])
  const { [path]: target } = repository.of('targets').targets ?? {}
  if (target) target.hashes = { 'unknown-hash': target.hashes['sha512'] ?? '' }
  repository.publish('targets', 'snapshot', 'timestamp')
  expect(await client.download(path)).toBe(false)
  expect(client.downloaded.size).toBe(0)
})

test('artifact_cache', async () => {
  const { repository, client } = await refreshed()
  repository.addArtifact('targets', content, path)
  repository.publish('targets', 'snapshot', 'timestamp')
  expect(await client.download(path)).toBe(true)
  expect(await client.download(path)).toBe(true)
  expect(repository.artifactRequests).toHaveLength(1)
})

test('snapshot_does_not_meet_threshold', async () => {
  const repository = new Simulator()
  const client = repository.client()
  const keys = Array.from({ length: 5 }, () => repository.newSigner())
  repository.setKeys('snapshot', keys, 5, keys.slice(0, 4))
  repository.publish('root', 'snapshot', 'timestamp')
  expect(await client.refresh()).toBe(false)
  expect([client.version('root'), client.version('snapshot')]).toEqual([2, undefined])
  repository.signers.set('snapshot', keys)
  repository.publish('snapshot', 'timestamp')
  expect(await client.refresh()).toBe(true)
})

test('snapshot_has_too_few_keys', async () => {
  const { repository, client } = await refreshed()
  const keys = Array.from({ length: 5 }, () => repository.newSigner())
  repository.setKeys('snapshot', keys, 6)
  repository.publish('root', 'snapshot', 'timestamp')
  expect(await client.refresh()).toBe(false)
  expect([client.version('root'), client.version('snapshot')]).toEqual([2, 1])
})

test('duplicate_keys', async () => {
  const repository = new Simulator()
  const client = repository.client()
  const signer = repository.newSigner()
  repository.setKeys(
    'snapshot',
    Array.from({ length: 9 }, () => signer),
    6,
    [signer],
  )
  repository.publish('root', 'snapshot', 'timestamp')
  repository.tamper('snapshot', (text) => {
    const file = JSON.parse(text)
    return JSON.stringify({
      ...file,
      signatures: Array.from({ length: 9 }, () => file.signatures[0]),
    })
  })
  expect(await client.refresh()).toBe(false)
  expect(client.version('snapshot')).toBeUndefined()
})

test('duplicate_sig_keyids', async () => {
  const repository = new Simulator()
  const client = repository.client()
  repository.tamper('snapshot', (text) => {
    const file = JSON.parse(text)
    return JSON.stringify({ ...file, signatures: [file.signatures[0], file.signatures[0]] })
  })
  expect(await client.refresh()).toBe(false)
  expect(client.version('snapshot')).toBeUndefined()
})

const signers = {
  'rsa/rsassa-pss-sha256': () =>
    signerOf(
      generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
      'rsa',
      'rsassa-pss-sha256',
    ),
  'ecdsa/ecdsa-sha2-nistp256': () =>
    signerOf(
      generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
      'ecdsa',
      'ecdsa-sha2-nistp256',
    ),
  'ed25519/ed25519': () =>
    signerOf(generateKeyPairSync('ed25519').privateKey, 'ed25519', 'ed25519'),
}

test.each(Object.entries(signers))('keytype_and_scheme [%s]', async (_, make) => {
  const repository = new Simulator()
  const client = repository.client()
  const signer = repository.addKey('root', make())
  repository.roleOf('root').threshold = 2
  repository.publish('root')
  expect(await client.refresh()).toBe(true)
  expect(client.version('root')).toBe(2)
  repository.publish('root')
  // A signature of the same key over something else: of the right form, and wrong.
  const before = JSON.parse(repository.published.get('root')?.[1] ?? '').signatures
  repository.tamper('root', (text) => {
    const file = JSON.parse(text)
    const stale = before.find(({ keyid }: { keyid: string }) => keyid === signer.keyid)
    const others = file.signatures.filter(({ keyid }: { keyid: string }) => keyid !== signer.keyid)
    return JSON.stringify({ ...file, signatures: [...others, stale] })
  })
  expect(await client.refresh()).toBe(false)
  expect(client.version('root')).toBe(2)
})

test('invalid_sig_in_valid_metadata', async () => {
  const { repository, client } = await refreshed()
  const { signatures } = JSON.parse(repository.published.get('timestamp')?.[0] ?? '')
  repository.addKey('timestamp')
  repository.publish('root', 'timestamp')
  for (const sig of [signatures[0].sig, '']) {
    repository.tamper('timestamp', (text) => {
      const file = JSON.parse(text)
      file.signatures[0].sig = sig
      return JSON.stringify(file)
    })
    expect(await client.refresh()).toBe(true)
    repository.publish('timestamp')
  }
})

test.each(['?', '#', '/delegatedrole', '../delegatedrole'])(
  'unusual_role_name [%s]',
  async (role) => {
    const repository = new Simulator()
    repository.delegate('targets', role)
    repository.publish(role, 'targets', 'snapshot', 'timestamp')
    const client = repository.client()
    expect(await client.download('nonexistent target')).toBe(false)
    expect(repository.requests).toContain(`${encodeURIComponent(role)} 1`)
    expect(Object.keys(client.state.delegated)).toEqual([role])
  },
)
