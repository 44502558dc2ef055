import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'

import { Failure } from '../../../cli/failure.ts'
import { type Draft, readDraft } from '../../../cli/sign/draft.ts'
import { readLog } from '../../../cli/sign/log.ts'
import { type Review, signDraft } from '../../../cli/sign/sign.ts'
import { buildRoot, buildTargets, firmwareDelegation } from '../../../pki/tuf/build.ts'
import { decodeEnvelope, encodeEnvelope } from '../../../pki/tuf/envelope.ts'
import { keyId } from '../../../pki/tuf/keys.ts'
import { latestExpiry } from '../../../pki/tuf/publish-check.ts'
import { readRoot } from '../../../pki/tuf/read.ts'
import { Signer, failureOf, newTufKey, now, twoKeys } from '../../support/sign-fixture.ts'
import { World } from '../../support/tuf-fixture.ts'
import { sha256 } from '../../support/tuf-repository.ts'

let signer: Signer
beforeAll(async () => {
  signer = await Signer.create()
})
afterAll(() => signer.remove())
beforeEach(() => signer.forget())

test('a first version: shown, confirmed, signed by all that may, logged, and again the same', async () => {
  const draft = signer.firmwareDraft(1, [{}])
  const chosen = signer.options(draft)
  let review: Review | undefined
  const file = await signDraft({
    ...chosen,
    confirm: (shown) => {
      review = shown
      return '1'
    },
  })
  expect(JSON.parse(readFileSync(chosen.out, 'utf8'))).toEqual(file)
  expect(file).toMatchObject({ role: 'fw-gate-2', version: 1, signedSha256: draft.signedSha256 })
  expect(file.signatures.map(({ keyid }) => keyid)).toEqual(signer.published.releaseKeys.map(keyId))
  expect(review?.lines[0]).toBe(
    'ADDS main 2.4.1 for gate-2 (gate-2-r3), build 412, security version 41, class security, ' +
      `fixes CVE-2026-1234, 10 bytes, SHA-256 ${sha256('main 2.4.1')}`,
  )
  expect(readLog(signer.keysDir).at(-1)).toMatchObject({ role: 'fw-gate-2', version: 1 })
  expect(await signDraft(chosen)).toEqual(file)
})

test('119 the diff shows every changed field, in words and by name', async () => {
  const first = await signer.signFirmware(1, [{}, { component: 'radio', build: 205, svn: 3 }])
  const next = {
    version: '2.4.2',
    build: 413,
    svn: 42,
    match: { minPrev: 412, requires: { radio: 205 } },
  }
  const draft = signer.firmwareDraft(2, [{}, next], first)
  const text = await reviewOf(draft)
  expect(text).toContain(
    'ADDS main 2.4.2 for gate-2 (gate-2-r3), build 413, security version 42, class security',
  )
  expect(text).toContain('from build 412, needs radio 205')
  expect(text).toContain('WITHDRAWS radio 2.4.1')
  expect(text).toContain('SECURITY VERSION of main goes from 41 to 42')
  expect(text).toContain('version: 1 -> 2')
  expect(text).toContain('targets fw/gate-2/2.4.2/main.bin custom match format: (nothing) -> "raw"')
  expect(text).toContain('targets fw/gate-2/2.4.1/radio.bin length: 11 -> (nothing)')
})

/** What the person is shown who then does not sign. */
async function reviewOf(draft: Draft): Promise<string> {
  const shown: Review[] = []
  const confirm = (review: Review): string => (shown.push(review), 'no')
  const refused = await failureOf(() => signDraft({ ...signer.options(draft), confirm }))
  expect(refused.code).toBe('not-confirmed')
  return shown.flatMap(({ lines }) => lines).join('\n')
}

test('119 the diff of delegations names new and retired keys and thresholds', async () => {
  const [first, second, third] = signer.published.releaseKeys.map((key) => ({
    key,
    id: keyId(key),
  }))
  const fresh = newTufKey()
  const keys = [second?.key, third?.key, fresh].flatMap((key) => key ?? [])
  const delegations = [
    firmwareDelegation('gate-2', { keys, threshold: 3 }),
    firmwareDelegation('gate-3', { keys, threshold: 2 }),
  ]
  const expiresAt = latestExpiry('targets', now)
  const signed = buildTargets({ version: 3, expiresAt, delegations })
  const text = await reviewOf(signer.draftOf('targets', signed, { previous: signer.targets }))
  expect(text).toContain(`RETIRES KEY of fw-gate-2: ${first?.id}`)
  expect(text).toContain(`NEW KEY for fw-gate-2: ${keyId(fresh)}`)
  expect(text).toContain('fw-gate-2 NEEDS 3 of 3 signatures instead of 2')
  expect(text).toContain('DELEGATES fw-gate-3, paths fw/gate-3/*/*')
})

test('a next root is signed by old and new keys alike', async () => {
  const { roles, keys } = readRoot(
    decodeEnvelope(Buffer.from(signer.published.image.root), 65_536).signed,
  )
  const signersOf = ({ keyids, threshold }: { keyids: string[]; threshold: number }) => ({
    keys: keyids.flatMap((id) => keys[id] ?? []),
    threshold,
  })
  const root = {
    keys: [...signersOf(roles.root).keys.slice(0, 2), newTufKey()],
    threshold: 2,
  }
  const signed = buildRoot({
    version: 2,
    expiresAt: latestExpiry('root', now),
    evaluation: true,
    roles: {
      root,
      targets: signersOf(roles.targets),
      snapshot: signersOf(roles.snapshot),
      timestamp: signersOf(roles.timestamp),
    },
  })
  const { signatures } = await signDraft(signer.options(signer.draftOf('root', signed)))
  expect(signatures).toHaveLength(3)
})

test('136 a draft whose hash differs from its text', async () => {
  const draft = signer.firmwareDraft(1, [{}])
  const changed = { ...draft, signed: draft.signed.replace('"svn":41', '"svn":40') }
  const refused = await failureOf(() => signDraft({ ...signer.options(changed), ...twoKeys }))
  expect(refused.code).toBe('draft')
  expect(() => readDraft(Buffer.from(JSON.stringify(changed)))).toThrow('SHA-256')
  expect(readDraft(Buffer.from(JSON.stringify(draft)))).toEqual(draft)
})

test.each<[string, Partial<Draft>]>([
  ['another version than its text', { version: 2 }],
  ['another expiry than its text', { expires: '2026-12-01T00:00:00Z' }],
  ['a root role for a targets text', { role: 'root' }],
  ['a role that has no offline keys', { role: 'snapshot' }],
  ['something unknown', { more: 1 } as Partial<Draft>],
])('136 a draft with %s is no draft', (_, change) => {
  const draft = { ...signer.firmwareDraft(1, [{}]), ...change }
  expect(() => readDraft(Buffer.from(JSON.stringify(draft)))).toThrow(Failure)
})

test('137 a previous version that is not verifiable from the pinned root', async () => {
  const forged = World.honest()
  const mine = await signer.signFirmware(1, [{}])
  signer.forget()
  const codeOf = async (more: Partial<Draft>) => {
    const draft = { ...signer.firmwareDraft(2, [{}], mine), ...more }
    return (await failureOf(() => signDraft({ ...signer.options(draft), ...twoKeys }))).code
  }
  expect(await codeOf({ previous: forged.image.file('fw-gate-2').text })).toBe('untrusted')
  expect(await codeOf({ targets: forged.image.file('targets').text })).toBe('untrusted')
  expect(await codeOf({ rootChain: forged.image.roots })).toBe('untrusted')
  forged.image.publishRoot()
  expect(await codeOf({ rootChain: forged.image.roots.slice(1) })).toBe('untrusted')
  // Left out altogether, version 2 would come after nothing.
  const { previous: _, ...rest } = signer.firmwareDraft(2, [{}], mine)
  const without = await failureOf(() => signDraft({ ...signer.options(rest), ...twoKeys }))
  expect(without.code).toBe('refused')
  // The honest twin.
  const draft = signer.firmwareDraft(2, [{}], mine)
  expect(await signDraft({ ...signer.options(draft), ...twoKeys })).toMatchObject({ version: 2 })
})

test('137 after its keys were replaced, a version is known by the log of this folder', async () => {
  const mine = await signer.signFirmware(1, [{}])
  const log = signer.readLogText()
  // Today's delegation names other keys, one of which is here.
  const [, , spare] = signer.published.releaseKeys
  const keys = [spare, newTufKey()].flatMap((key) => key ?? [])
  const delegations = [firmwareDelegation('gate-2', { keys, threshold: 2 })]
  const signed = buildTargets({ version: 3, expiresAt: latestExpiry('targets', now), delegations })
  const rotation = signer.draftOf('targets', signed, { previous: signer.targets })
  const { signatures } = await signDraft(signer.options(rotation))
  const targets = encodeEnvelope(signed, signatures).toString()
  const draft = { ...signer.firmwareDraft(2, [{}], mine), targets }
  signer.forget()
  expect((await failureOf(() => signDraft(signer.options(draft)))).code).toBe('untrusted')
  writeFileSync(signer.logFile, log)
  expect((await signDraft(signer.options(draft))).signatures).toHaveLength(1)
})

test('138 a security version lowered', async () => {
  const first = await signer.signFirmware(1, [{}])
  const draft = signer.firmwareDraft(2, [{}, { version: '2.4.2', build: 413, svn: 40 }], first)
  const refused = await failureOf(() => signDraft({ ...signer.options(draft), ...twoKeys }))
  expect(refused.code).toBe('refused')
  expect(refused.message).toContain('security version 40 after 41')
})

test('139 a wrong passphrase leaves no file and no line in the log', async () => {
  const log = signer.readLogText()
  const chosen = signer.options(signer.firmwareDraft(1, [{}]))
  const attempt = () => signDraft({ ...chosen, ...twoKeys, passphrase: () => 'wrong horse' })
  expect((await failureOf(attempt)).code).toBe('passphrase')
  expect(existsSync(chosen.out)).toBe(false)
  expect(signer.readLogText()).toBe(log)
})

test('140 another version typed, or another contents for a version signed before', async () => {
  const chosen = signer.options(signer.firmwareDraft(1, [{}]))
  const typed = { ...chosen, ...twoKeys, confirm: () => '2' }
  expect(await failureOf(() => signDraft(typed))).toMatchObject({
    code: 'not-confirmed',
    nextStep: expect.stringContaining('--confirm 1') as string,
  })
  expect(existsSync(chosen.out)).toBe(false)
  await signDraft({ ...chosen, ...twoKeys })
  const other = signer.firmwareDraft(1, [{ version: '2.4.2', build: 413 }])
  expect((await failureOf(() => signDraft({ ...signer.options(other), ...twoKeys }))).code).toBe(
    'refused',
  )
})

test('only keys of the role sign', async () => {
  const draft = signer.firmwareDraft(1, [{}])
  const attempt = () => signDraft({ ...signer.options(draft), keyFiles: ['image-root-1.pem'] })
  expect((await failureOf(attempt)).message).toContain('no key of fw-gate-2')
})

test('--file: an image is hashed here and must be in the draft', async () => {
  const image = join(signer.home, 'main.bin')
  writeFileSync(image, 'main 2.4.1')
  const draft = signer.firmwareDraft(1, [{}])
  let lines: string[] = []
  const confirm = (shown: Review): string => ((lines = shown.lines), '1')
  await signDraft({ ...signer.options(draft), ...twoKeys, images: [image], confirm })
  expect(lines.at(-1)).toBe(`FILE ${image} is fw/gate-2/2.4.1/main.bin`)
  writeFileSync(image, 'main 2.4.1, changed')
  const attempt = () => signDraft({ ...signer.options(draft), ...twoKeys, images: [image] })
  expect((await failureOf(attempt)).code).toBe('refused')
})
