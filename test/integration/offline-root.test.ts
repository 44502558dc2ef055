import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { beforeEach, expect, test } from 'vitest'

import { keyIdOf, keyIdOfRequest } from '../../cli/ceremony/key-id.ts'
import { createOperator } from '../../demo/fleetseal.ts'
import { validatePath } from '../../pki/path-validate.ts'
import { fromPem, toPem } from '../../pki/pem.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { answerRequest, createRequest, endRequest } from '../../server/authorities/requests.ts'
import { importRoot } from '../../server/authorities/roots.ts'
import { actOnAuthority, createAuthority } from '../../server/authorities/service.ts'
import type { IssuerPurpose } from '../../server/authorities/state.ts'
import { newId } from '../../server/ids.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  by,
  createIdentityWorld,
  type IdentityWorld,
  newRequest,
  unique,
  type WorldContext,
} from '../support/identity-world.ts'

let world: IdentityWorld
let ctx: WorldContext
let base: string
/** The machine of the roots: no server, no network. */
const { fleetseal } = createOperator({}, () => {})

beforeEach(async () => {
  const handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  ctx = world.ctx
  base = await mkdtemp(join(tmpdir(), 'fleetseal-ceremony-'))
  await writeFile(join(base, 'passphrase'), 'correct horse battery\n')
  return async () => {
    await rm(base, { recursive: true, force: true })
    await world[Symbol.asyncDispose]()
    await handle[Symbol.asyncDispose]()
  }
})

const id = () => newId(ctx.clock.now())
const secret = () => join(base, 'passphrase')
const at = (name: string) => ['--dir', join(base, name), '--passphrase-file', secret()]
const activate = async (authorityId: string) =>
  await actOnAuthority(ctx, { id: authorityId, action: 'activate', ...by })
const ask = async (purpose: IssuerPurpose) => await createRequest(ctx, { id: id(), purpose, ...by })
const answer = async (requestId: string, text: string) =>
  await answerRequest(ctx, { id: requestId, answer: text, ...by })
const bring = async (file: string) => await importRoot(ctx, { id: id(), file, ...by })

/** A root that follows `old`, and the file that a server imports. */
async function nextRoot(
  name: string,
  old: string,
  { years = 25, more = [] }: { years?: number; more?: string[] } = {},
): Promise<string> {
  await fleetseal('ceremony', 'init', `${name} Root`, '--years', `${years}`, ...at(name))
  const file = join(base, `${name}.old.pem`)
  await writeFile(file, old)
  const [der = Buffer.alloc(0)] = fromPem(old, 'CERTIFICATE')
  const confirm = ['--confirm', keyIdOf(parseCertificate(der).spki)]
  const out = join(base, `${name}.update.pem`)
  await fleetseal('ceremony', 'rollover', file, '--out', out, ...confirm, ...at(name), ...more)
  return await readFile(out, 'utf8')
}

async function signed(root: string, request: string): Promise<string> {
  const file = join(base, `${unique('request')}.pem`)
  await writeFile(file, request)
  await fleetseal('ceremony', 'sign', file, '--confirm', keyIdOfRequest(request) ?? '', ...at(root))
  return await readFile(`${file}.answer.pem`, 'utf8')
}

test('from a root whose key is here to one whose key is not, and no device is left behind', async () => {
  const old = ctx.authorities.root
  const update = await nextRoot('acme', ctx.authorities.rootPem)
  const root = await bring(update)
  expect(root).toMatchObject({ state: 'prepared', name: 'acme Root', wrapped_key: null })
  expect((await bring(update)).id).toBe(root.id)
  await activate(root.id)
  await expect(createAuthority(ctx, { id: id(), purpose: 'devices', ...by })).rejects.toMatchObject(
    { code: 'not-ready' },
  )
  for (const purpose of ['servers', 'devices'] as const) {
    const request = await ask(purpose)
    const made = await answer(request.id, await signed('acme', request.request))
    expect(made).toMatchObject({ id: request.id, state: 'prepared', issuer_id: root.id })
    await activate(made.id)
  }
  const { id: profileId } = await world.givenProfile()
  const token = await world.givenToken(profileId)
  const leaf = await world.enrollWith(token, newRequest(unique('SN')).csr)
  const { devices, distributed } = ctx.authorities
  const options = { at: new Date(), purpose: 'clientAuth' } as const
  expect(validatePath([leaf, devices.der], [root.certificate], options).valid).toBe(true)
  const bridge = distributed.find((der) => {
    const { subject, issuer } = parseCertificate(der)
    return (
      issuer.equals(old.certificate.subject) &&
      subject.equals(parseCertificate(root.certificate).subject)
    )
  })
  const path = [leaf, devices.der, bridge ?? Buffer.alloc(0)]
  expect(validatePath(path, [old.der], options).valid).toBe(true)
})

test('from one offline root to the next, with the keys of both at the ceremony', async () => {
  const first = await bring(await nextRoot('one', ctx.authorities.rootPem, { years: 22 }))
  await activate(first.id)
  const old = toPem('CERTIFICATE', first.certificate)
  await expect(bring(await nextRoot('two', old))).rejects.toMatchObject({
    code: 'invalid-request',
    message: expect.stringContaining('new root by the active one is missing'),
  })
  const more = ['--old-dir', join(base, 'one'), '--old-passphrase-file', secret()]
  expect((await bring(await nextRoot('three', old, { more }))).state).toBe('prepared')
})

test('a root file that does not lead from the active root is refused', async () => {
  const update = await nextRoot('acme', ctx.authorities.rootPem)
  const [root = Buffer.alloc(0)] = fromPem(update, 'CERTIFICATE')
  const stranger = await nextRoot('other', toPem('CERTIFICATE', root))
  for (const file of [toPem('CERTIFICATE', root), stranger, update + update, 'nothing']) {
    await expect(bring(file)).rejects.toMatchObject({ code: 'invalid-request' })
  }
  expect((await bring(update)).state).toBe('prepared')
})

test('an answer is taken for its own request, once, until the request is given up', async () => {
  await activate((await bring(await nextRoot('acme', ctx.authorities.rootPem))).id)
  const [one, two] = [await ask('devices'), await ask('devices')]
  const text = await signed('acme', one.request)
  await expect(answer(two.id, text)).rejects.toMatchObject({ code: 'invalid-request' })
  await expect(answer(one.id, 'nothing')).rejects.toMatchObject({ code: 'invalid-request' })
  const [first, again] = [await answer(one.id, text), await answer(one.id, text)]
  expect(again.certificate).toEqual(first.certificate)
  for (let n = 0; n < 2; n++) await endRequest(ctx, { id: two.id, ...by })
  const late = await signed('acme', two.request)
  await expect(answer(two.id, late)).rejects.toMatchObject({ code: 'not-found' })
})
