import { readdirSync } from 'node:fs'
import { join } from 'node:path'

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'

import { initKeys } from '../../../cli/sign/init.ts'
import { readLog } from '../../../cli/sign/log.ts'
import { type Review, signDraft } from '../../../cli/sign/sign.ts'
import { buildTargets, delegationsIn, rebuildRoot } from '../../../pki/tuf/build.ts'
import { decodeEnvelope, encodeEnvelope, verifySignature } from '../../../pki/tuf/envelope.ts'
import { keyId } from '../../../pki/tuf/keys.ts'
import {
  delegationSigners,
  generatePqKey,
  isPqRequired,
  meetsSigners,
  pqTufKeyOf,
  rootSigners,
  signPqBytes,
  targetsSigners,
  verifyPqSignature,
} from '../../../pki/tuf/post-quantum.ts'
import { checkRoot, checkTargetsDraft, latestExpiry } from '../../../pki/tuf/publish-check.ts'
import { readRoot, readTargets } from '../../../pki/tuf/read.ts'
import { failureOf, now, onlineKeys, Signer, twoKeys } from '../../support/sign-fixture.ts'

let signer: Signer
beforeAll(async () => {
  signer = await Signer.create({ postQuantum: 'ml-dsa-44' })
})
afterAll(() => signer.remove())
beforeEach(() => signer.forget())

const open = (text: string) => decodeEnvelope(Buffer.from(text), 65_536)
const rootIn = (text: string) => readRoot(open(text).signed)

test('init: each key has an ML-DSA half, and all three files meet both thresholds', () => {
  const files = readdirSync(signer.keysDir).filter((name) => name.endsWith('.pem'))
  expect(files).toHaveLength(24)
  expect(files).toContain('qa.pq.pem')
  const { image, director } = signer.published
  for (const text of [image.root, director.root]) {
    const root = rootIn(text)
    expect(isPqRequired(root)).toBe(true)
    expect(meetsSigners(open(text), rootSigners(root))).toBe(true)
    expect(checkRoot({ envelope: open(text), now })).toEqual([])
  }
  expect(meetsSigners(open(image.targets), targetsSigners(rootIn(image.root)))).toBe(true)
  // What signs online stays as it was.
  expect(Object.keys(rootIn(director.root)['x-pq-roles'] ?? {})).toEqual(['root'])
})

test('init: one passphrase opens both halves of a key', async () => {
  const asked: string[] = []
  const passphrase = (file: string): string => (asked.push(file), `the secret of ${file}`)
  const dir = join(signer.home, 'ceremony')
  const given = { dir, evaluation: false, onlineKeys, now, postQuantum: 'ml-dsa-44' as const }
  await initKeys({ ...given, passphrase })
  expect(asked).toHaveLength(12)
  expect(asked.some((file) => file.includes('.pq.'))).toBe(false)
})

test('a draft is signed by both halves of every key given, and the log names them all', async () => {
  const draft = signer.firmwareDraft(1, [{}])
  const { signatures, pqSignatures } = await signDraft({ ...signer.options(draft), ...twoKeys })
  expect(signatures).toHaveLength(2)
  expect(pqSignatures).toHaveLength(2)
  expect(readLog(signer.keysDir).at(-1)?.keyids).toHaveLength(4)
  const text = encodeEnvelope(Buffer.from(draft.signed), signatures, pqSignatures).toString()
  const targets = readTargets(open(signer.targets).signed)
  const [delegation] = targets.delegations?.roles ?? []
  if (!delegation) throw new Error('no delegation')
  const signers = delegationSigners(targets, delegation, true)
  expect(meetsSigners(open(text), signers)).toBe(true)
  // One half does not do, whichever it is.
  const classical = encodeEnvelope(Buffer.from(draft.signed), signatures).toString()
  expect(meetsSigners(open(classical), signers)).toBe(false)
  const pq = encodeEnvelope(Buffer.from(draft.signed), [], pqSignatures).toString()
  expect(meetsSigners(open(pq), signers)).toBe(false)
})

test('108 a signature with another context is none, and the one with ours is none elsewhere', () => {
  const key = generatePqKey('ml-dsa-44')
  const tufKey = pqTufKeyOf(key)
  const { sig } = signPqBytes(Buffer.from('x'), key)
  expect(verifyPqSignature(Buffer.from('x'), tufKey, sig)).toBe(true)
  expect(verifyPqSignature(Buffer.from('y'), tufKey, sig)).toBe(false)
  const hex = Buffer.from(sig, 'base64').toString('hex')
  expect(verifySignature(Buffer.from('x'), tufKey, hex)).toBe(false)
})

test('137 a version before that has lost its post-quantum half is not what the keys agreed to', async () => {
  const mine = await signer.signFirmware(1, [{}])
  signer.forget()
  const { signedBytes, signatures } = open(mine)
  const stripped = encodeEnvelope(signedBytes, signatures).toString()
  const next = { version: '2.4.2', build: 413 }
  const attempt = (previous: string) =>
    signDraft({ ...signer.options(signer.firmwareDraft(2, [{}, next], previous)), ...twoKeys })
  expect((await failureOf(() => attempt(stripped))).code).toBe('untrusted')
  expect(await attempt(mine)).toMatchObject({ version: 2 })
})

test('105 a root or a delegation that goes back is neither signed nor published', async () => {
  const root = rootIn(signer.published.image.root)
  const expiresAt = latestExpiry('root', now)
  const next = rebuildRoot(root, { version: 2, expiresAt })
  const attempt = (signed: Buffer) => signDraft(signer.options(signer.draftOf('root', signed, {})))
  expect((await attempt(next)).pqSignatures).toHaveLength(3)
  signer.forget()
  const back = rebuildRoot(root, { version: 2, expiresAt, pqRequired: false })
  const refused = await failureOf(() => attempt(back))
  expect(refused.message).toContain('devices never go back')

  const targets = readTargets(open(signer.targets).signed)
  const whole = delegationsIn(targets)
  const bare = whole.map(({ name, paths, keys, threshold }) => ({ name, paths, keys, threshold }))
  const drafted = (delegations: typeof whole) => ({
    signed: buildTargets({ version: 3, expiresAt: latestExpiry('targets', now), delegations }),
    previous: open(signer.targets).signedBytes,
    pqRequired: true,
    now,
  })
  expect(checkTargetsDraft(drafted(whole))).toEqual([])
  expect(checkTargetsDraft(drafted(bare)).map(({ fault }) => fault)).toEqual(['keys'])
})

test('119 the review names post-quantum keys by role, and shortens what fills a screen', async () => {
  const targets = readTargets(open(signer.targets).signed)
  const fresh = pqTufKeyOf(generatePqKey('ml-dsa-44'))
  const delegations = delegationsIn(targets).map((role) => ({
    ...role,
    pq: { keys: [...(role.pq?.keys.slice(0, 2) ?? []), fresh], threshold: 3 },
  }))
  const expiresAt = latestExpiry('targets', now)
  const signed = buildTargets({ version: 3, expiresAt, delegations })
  const shown: Review[] = []
  const confirm = (review: Review): string => (shown.push(review), 'no')
  const draft = signer.draftOf('targets', signed, { previous: signer.targets })
  await failureOf(() => signDraft({ ...signer.options(draft), confirm }))
  const lines = shown.flatMap((review) => review.lines)
  expect(lines).toContain(`NEW KEY for fw-gate-2 (post-quantum): ${keyId(fresh)}`)
  expect(lines).toContain('fw-gate-2 (post-quantum) NEEDS 3 of 3 signatures instead of 2')
  expect(lines.filter((line) => line.startsWith('RETIRES KEY of fw-gate-2 (post'))).toHaveLength(1)
  expect(Math.max(...lines.map(({ length }) => length))).toBeLessThan(600)
})
