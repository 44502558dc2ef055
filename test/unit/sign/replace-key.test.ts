import { existsSync } from 'node:fs'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { readPublicPart } from '../../../cli/sign/key-folder.ts'
import { newKey } from '../../../cli/sign/new-key.ts'
import { replaceInRoot, replacementIn } from '../../../cli/sign/replace-key.ts'
import { signDraft } from '../../../cli/sign/sign.ts'
import { rebuildRoot, rootSignersIn } from '../../../pki/tuf/build.ts'
import { decodeEnvelope, encodeEnvelope } from '../../../pki/tuf/envelope.ts'
import { keyId } from '../../../pki/tuf/keys.ts'
import { checkRoot, latestExpiry } from '../../../pki/tuf/publish-check.ts'
import { readRoot } from '../../../pki/tuf/read.ts'
import { failureOf, now, Signer } from '../../support/sign-fixture.ts'

let signer: Signer
beforeAll(async () => {
  signer = await Signer.create({ postQuantum: 'ml-dsa-44' })
})
afterAll(() => signer.remove())

const open = (text: string) => decodeEnvelope(Buffer.from(text), 65_536)
const publicPart = () => readPublicPart(signer.keysDir)
const root = () => readRoot(open(signer.published.image.root).signed)
const draft = () =>
  rebuildRoot(root(), { version: 2, expiresAt: latestExpiry('root', now) }).toString()

test('a new key is listed with its public halves, in files of its own, and never takes a name twice', async () => {
  const made = await newKey({
    keysDir: signer.keysDir,
    name: 'image-root-4',
    postQuantum: 'ml-dsa-44',
  })
  expect(made.map(({ file }) => file)).toEqual(['image-root-4.pem', 'image-root-4.pq.pem'])
  for (const { file, key, keyid } of made) {
    expect(existsSync(join(signer.keysDir, file))).toBe(true)
    expect(key && keyId(key)).toBe(keyid)
  }
  expect(publicPart().keys.slice(-2)).toEqual(made)
  const again = await failureOf(() => newKey({ keysDir: signer.keysDir, name: 'image-root-4' }))
  expect(again.code).toBe('key-folder')
  const odd = await failureOf(() => newKey({ keysDir: signer.keysDir, name: '../image' }))
  expect(odd.code).toBe('usage')
  expect(publicPart().keys).toHaveLength(26)
})

test('a root key is replaced in both halves; old and new keys sign, and the chain holds', async () => {
  const replacement = replacementIn(publicPart(), 'image-root-2', 'image-root-4')
  const signed = Buffer.from(replaceInRoot(draft(), 'root', replacement))
  const next = readRoot(JSON.parse(signed.toString()) as never)
  const names = (keyids: string[] = []) =>
    keyids.map((id) => publicPart().keys.find(({ keyid }) => keyid === id)?.name)
  expect(names(next.roles.root.keyids)).toEqual(['image-root-1', 'image-root-3', 'image-root-4'])
  expect(names(next['x-pq-roles']?.root.keyids)).toEqual([
    'image-root-1.pq',
    'image-root-3.pq',
    'image-root-4.pq',
  ])
  expect(next.roles.targets).toEqual(root().roles.targets)

  const keyFiles = ['image-root-1.pem', 'image-root-4.pem']
  const sign = async (files: string[]) => {
    const options = signer.options(signer.draftOf('root', signed))
    const { signatures, pqSignatures } = await signDraft({ ...options, keyFiles: files })
    const text = encodeEnvelope(signed, signatures, pqSignatures).toString()
    return checkRoot({ envelope: open(text), previous: open(signer.published.image.root), now })
  }
  // One of the old three and the new one: the old threshold is not met.
  expect((await sign(keyFiles)).map(({ fault }) => fault)).toEqual(['signatures'])
  expect(await sign([...keyFiles, 'image-root-3.pem'])).toEqual([])
})

test('a key may go without another in its place while enough are left', async () => {
  const gone = replacementIn(publicPart(), 'image-targets-3', undefined)
  const once = replaceInRoot(draft(), 'targets', gone)
  const { targets } = rootSignersIn(readRoot(JSON.parse(once) as never))
  expect([targets.keys.length, targets.pq?.keys.length, targets.threshold]).toEqual([2, 2, 2])
  const second = replacementIn(publicPart(), 'image-targets-2', undefined)
  const refused = await failureOf(
    async () => await Promise.resolve(replaceInRoot(once, 'targets', second)),
  )
  expect(refused.message).toContain('needs 2 keys and would have 1')
  const stranger = await failureOf(
    async () => await Promise.resolve(replaceInRoot(once, 'targets', gone)),
  )
  expect(stranger.message).toContain('has no such key')
})

test('names that the folder does not know are refused with the next step; a key id needs no file here', async () => {
  const of = async (old: string, next?: string) =>
    await failureOf(async () => await Promise.resolve(replacementIn(publicPart(), old, next)))
  expect((await of('image-root-9')).code).toBe('key-folder')
  expect((await of('image-root-1', 'image-root-9')).nextStep).toContain('new-key image-root-9')
  const elsewhere = 'ab'.repeat(32)
  expect(replacementIn(publicPart(), elsewhere, undefined).retired).toEqual([elsewhere])
})
