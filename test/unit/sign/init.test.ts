import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { initKeys } from '../../../cli/sign/init.ts'
import { openKeys } from '../../../cli/sign/key-folder.ts'
import { decodeEnvelope, meetsThreshold } from '../../../pki/tuf/envelope.ts'
import { keyId } from '../../../pki/tuf/keys.ts'
import { readRoot } from '../../../pki/tuf/read.ts'
import { Signer, failureOf, now, onlineKeys } from '../../support/sign-fixture.ts'

let signer: Signer
beforeAll(async () => {
  signer = await Signer.create()
})
afterAll(() => signer.remove())

test('init: every key in its own encrypted file, roots and targets signed to their thresholds', () => {
  const files = readdirSync(signer.keysDir).filter((name) => name.endsWith('.pem'))
  expect(files).toHaveLength(12)
  for (const file of [...files, 'passphrase'])
    expect(statSync(join(signer.keysDir, file)).mode & 0o777).toBe(0o600)
  for (const file of files)
    expect(readFileSync(join(signer.keysDir, file), 'utf8')).toContain('ENCRYPTED')
  expect(JSON.parse(readFileSync(join(signer.keysDir, 'public.json'), 'utf8'))).toEqual(
    signer.published,
  )
  expect(signer.published.keys.map(({ name }) => name)).toContain('spare')
  for (const text of [signer.published.image.root, signer.published.director.root]) {
    const envelope = decodeEnvelope(Buffer.from(text), 65_536)
    const { keys, roles, 'x-evaluation': evaluation } = readRoot(envelope.signed)
    expect(meetsThreshold(envelope, keys, roles.root)).toBe(true)
    expect(evaluation).toBe(true)
    expect(roles.root).toMatchObject({ threshold: 2 })
  }
  const { keys, roles } = readRoot(
    decodeEnvelope(Buffer.from(signer.published.image.root), 65_536).signed,
  )
  expect(roles.timestamp.keyids).toEqual([keyId(onlineKeys.image.timestamp)])
  expect(
    meetsThreshold(
      decodeEnvelope(Buffer.from(signer.published.image.targets), 65_536),
      keys,
      roles.targets,
    ),
  ).toBe(true)
  expect(readdirSync(signer.home).filter((name) => name.includes('.new-'))).toEqual([])
})

test('init: an existing folder is never touched, and production keys need passphrases', async () => {
  const before = readdirSync(signer.keysDir)
  const again = await failureOf(() =>
    initKeys({ dir: signer.keysDir, evaluation: true, onlineKeys, now }),
  )
  expect(again.code).toBe('key-folder')
  expect(readdirSync(signer.keysDir)).toEqual(before)
  const dir = join(signer.home, 'production')
  expect((await failureOf(() => initKeys({ dir, evaluation: false, onlineKeys, now }))).code).toBe(
    'usage',
  )
  expect(existsSync(dir)).toBe(false)
})

test('init: production keys have the passphrase of a person each, and no mark', async () => {
  const asked: string[] = []
  const dir = join(signer.home, 'ceremony')
  const passphrase = (file: string): string => (asked.push(file), `the secret of ${file}`)
  const published = await initKeys({ dir, evaluation: false, passphrase, onlineKeys, now })
  expect(asked).toHaveLength(12)
  expect(readdirSync(dir)).not.toContain('passphrase')
  expect(published.image.root + published.director.root).not.toContain('x-evaluation')
  const [opened] = await openKeys(dir, ['qa.pem'], passphrase)
  expect(opened?.keyid).toBe(published.keys.find(({ name }) => name === 'qa')?.keyid)
})
