import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { readPublicPart } from '../../../cli/sign/key-folder.ts'
import { readLog } from '../../../cli/sign/log.ts'
import { newKey } from '../../../cli/sign/new-key.ts'
import { replaceInRoot, replacementIn } from '../../../cli/sign/replace-key.ts'
import { signDraft } from '../../../cli/sign/sign.ts'
import { rebuildRoot } from '../../../pki/tuf/build.ts'
import { decodeEnvelope, encodeEnvelope } from '../../../pki/tuf/envelope.ts'
import { checkRoot, latestExpiry } from '../../../pki/tuf/publish-check.ts'
import { readRoot } from '../../../pki/tuf/read.ts'
import { FakeToken } from '../../support/fake-token.ts'
import { failureOf, now, Signer } from '../../support/sign-fixture.ts'

let signer: Signer
const token = new FakeToken()
const { uri, ...tokens } = token.access()
const evaluation = () => readFileSync(join(signer.keysDir, 'passphrase'), 'utf8').trimEnd()
const passphrase = (file: string): string => (file.endsWith('.pkcs11') ? token.pin : evaluation())

beforeAll(async () => {
  signer = await Signer.create()
  const options = { keysDir: signer.keysDir, name: 'image-root-4', tokenUri: uri, tokens }
  await newKey({ ...options, passphrase })
})
afterAll(() => signer.remove())

const open = (text: string) => decodeEnvelope(Buffer.from(text), 65_536)

/** A root in which the key in the token takes the place of the second one. */
function nextRoot(): Buffer {
  const root = readRoot(open(signer.published.image.root).signed)
  const draft = rebuildRoot(root, { version: 2, expiresAt: latestExpiry('root', now) })
  const replacement = replacementIn(readPublicPart(signer.keysDir), 'image-root-2', 'image-root-4')
  return Buffer.from(replaceInRoot(draft.toString(), 'root', replacement))
}

test('a key in a token: the folder holds where it is, and nothing secret', () => {
  expect(readFileSync(join(signer.keysDir, 'image-root-4.pkcs11'), 'utf8')).toBe(`${uri}\n`)
  expect(existsSync(join(signer.keysDir, 'image-root-4.pem'))).toBe(false)
  const made = readPublicPart(signer.keysDir).keys.at(-1)
  expect(made).toMatchObject({ name: 'image-root-4', file: 'image-root-4.pkcs11' })
  expect(token.spki.toString('hex').endsWith(made?.key?.keyval.public ?? 'none')).toBe(true)
})

test('it signs beside keys from files, and devices follow', async () => {
  const signed = nextRoot()
  const options = { ...signer.options(signer.draftOf('root', signed)), passphrase, tokens }
  const { signatures } = await signDraft(options)
  expect(signatures).toHaveLength(4)
  const text = encodeEnvelope(signed, signatures).toString()
  const previous = open(signer.published.image.root)
  expect(checkRoot({ envelope: open(text), previous, now })).toEqual([])
  expect(readLog(signer.keysDir).at(-1)?.keyids).toHaveLength(4)
})

test('139 a token that is away leaves no file and no line in the log', async () => {
  signer.forget()
  const log = signer.readLogText()
  const chosen = signer.options(signer.draftOf('root', nextRoot()))
  const attempt = async (given: Partial<typeof chosen>) =>
    await failureOf(() => signDraft({ ...chosen, passphrase, tokens, ...given }))
  token.isAway = true
  token.failure = 'CKR_TOKEN_NOT_PRESENT:224'
  expect((await attempt({})).code).toBe('passphrase')
  token.isAway = false
  token.failure = undefined
  token.passTime()
  expect(existsSync(chosen.out)).toBe(false)
  expect(signer.readLogText()).toBe(log)
  await signDraft({ ...chosen, passphrase, tokens })
  expect(existsSync(chosen.out)).toBe(true)
})
