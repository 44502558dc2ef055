import { execFile } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { rootCertificates } from 'node:tls'

import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'

import { runProgram } from '../../cli/program.ts'
import { type RunningServer, startServer } from '../support/server.ts'

/* An operator's day at the command line, against a real server over TLS: in order, each step on the one before. */
let server: RunningServer
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fleetseal-cli-e2e-'))
  server = await startServer()
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

async function fleetseal(words: string, env: Record<string, string> = {}) {
  let out = ''
  let err = ''
  const code = await runProgram(words.split(' '), {
    env: {
      FLEETSEAL_SERVER: `https://localhost:${server.ports.api}`,
      FLEETSEAL_CA: server.ca,
      FLEETSEAL_API_KEY: join(server.dataDir, 'admin-api-key'),
      ...env,
    },
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    ask: async () => undefined,
    now: () => new Date(),
    sleep: async () => {},
    signal: new AbortController().signal,
  })
  return { code, out, err }
}

const Answer = z.looseObject({ id: z.string().optional(), state: z.string().optional() })

/** Must succeed; gives the JSON answer. */
async function ok(words: string) {
  const { code, out, err } = await fleetseal(`${words} --json`)
  expect(code, `${words}: ${err}`).toBe(0)
  return Answer.parse(JSON.parse(out))
}

test('who am I', async () => {
  expect(await ok('api-key whoami')).toMatchObject({ role: 'admin' })
})

test('groups, enrollment and devices', async () => {
  await ok('group create lab --description benches')
  expect((await fleetseal('group list')).out).toContain('lab')
  await ok('enrollment create lab --group lab --quota 5 --until 30d')
  const token = await fleetseal('enrollment token lab --max-uses 5 --expires 1d')
  expect(token.out.trim()).toMatch(/^\S{30,}$/)
  expect((await fleetseal('enrollment tokens lab --json')).out).not.toContain(token.out.trim())
  expect((await fleetseal('enrollment est lab')).out).toContain('after 60 %')
  const changed = { renewal: { graceDays: 30, key: 'new', opensPercent: 60 }, serverKey: 'P-256' }
  expect(await ok('enrollment set-est lab --grace 30 --key new --server-key P-256')).toMatchObject(
    changed,
  )
  expect(await ok('enrollment set-est lab --server-key none')).toMatchObject({
    ...changed,
    serverKey: null,
  })
  expect((await fleetseal('enrollment set-est lab --csr-attributes AAAA')).err).toMatch(
    /csrAttributes is not a CsrAttrs/,
  )
  expect(await ok('device register SN-7 --group lab')).toMatchObject({ state: 'registered' })
  expect((await fleetseal('group delete lab')).err).toMatch(/^conflict: .*1 devices/)
})

test('one certificate: on hold, released, and refused without a reason', async () => {
  const audit = await fleetseal('audit list --action certificate.issue --json')
  const [id = ''] = audit.out.match(/(?<="subject": ?")[0-9a-f-]{36}/) ?? []
  expect(await ok(`certificate show ${id}`)).toMatchObject({ id, state: 'issued' })
  expect(await ok(`certificate hold ${id}`)).toMatchObject({
    state: 'held',
    revocationReason: 'certificateHold',
  })
  expect((await fleetseal(`certificate show ${id}`)).out).toContain('certificateHold')
  expect(await ok(`certificate release ${id}`)).toMatchObject({ state: 'issued', revokedAt: null })
  expect(await fleetseal(`certificate revoke ${id}`)).toMatchObject({ code: 2 })
  expect(await fleetseal(`certificate hold ${randomUUID()}`)).toMatchObject({ code: 1 })
})

test('cut off and let back, by serial number and by group', async () => {
  expect(await ok('device disable SN-7 --reason lost')).toMatchObject({ state: 'disabled' })
  expect(await ok('device enable SN-7 --reason found')).toMatchObject({ state: 'registered' })
  expect(await ok('group disable lab --reason stolen')).toMatchObject({
    incident: { reason: 'stolen' },
  })
  expect(await ok('group enable lab --reason found')).toMatchObject({ incident: null })
  expect(await fleetseal('device disable SN-8 --reason lost')).toMatchObject({ code: 1 })
})

test('the key ceremony, a model and its delegation', async () => {
  const keys = join(folder, 'keys')
  expect(await fleetseal(`sign targets --keys ${keys}`)).toMatchObject({ code: 1 })
  const production = await fleetseal(`sign init --keys ${keys}`)
  expect(production.err).toContain('--evaluation')
  expect((await fleetseal(`sign init --evaluation --keys ${keys}`)).code).toBe(0)
  expect((await fleetseal(`sign init --evaluation --keys ${keys}`)).err).toContain(
    'never overwritten',
  )
  expect(await ok(`sign import --keys ${keys}`)).toMatchObject({ evaluation: true, isNew: true })
  expect(await ok(`sign import --keys ${keys}`)).toMatchObject({ isNew: false })
  await ok('model create pump --hardware-id pump-r1')
  const nobody = await fleetseal(`sign targets --keys ${keys}`)
  expect(nobody.code).toBe(2)
  expect(nobody.err).toContain('DELEGATES fw-pump')
  expect(await fleetseal(`sign targets --keys ${keys} --confirm 7`)).toMatchObject({ code: 1 })
  expect(await ok(`sign targets --keys ${keys} --confirm 2`)).toMatchObject({ state: 'published' })
})

test('an artifact is streamed, a release signed offline with two of three keys, published', async () => {
  const keys = join(folder, 'keys')
  const image = join(folder, 'firmware.bin')
  await writeFile(image, randomBytes(2_000_000))
  const artifact = await ok(`artifact upload ${image}`)
  expect(await ok(`artifact upload ${image}`)).toMatchObject({ id: artifact.id, size: 2_000_000 })
  expect((await fleetseal(`artifact upload ${folder}/none`)).code).toBe(2)
  const release = 'pump/firmware/1.0.0'
  await ok(`release create ${release} --artifact ${artifact.id ?? ''} --build 1 --class feature`)
  expect(await ok(`release submit ${release}`)).toMatchObject({ state: 'submitted' })
  expect((await fleetseal(`release publish ${release}`)).code).toBe(1)

  const draft = join(folder, 'fw.draft.json')
  await ok(`sign draft fw-pump --out ${draft}`)
  const offline = {
    FLEETSEAL_SERVER: 'https://localhost:9',
    FLEETSEAL_CA: '/none',
    FLEETSEAL_API_KEY: '/none',
  }
  for (const key of ['release', 'qa']) {
    const file = join(folder, `${key}.json`)
    const words = `sign fw-pump --draft ${draft} --keys ${keys} --key ${key}.pem --file ${image} --confirm 1 --out ${file}`
    const signed = await fleetseal(words, offline)
    expect(signed.code, signed.err).toBe(0)
    expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject({ role: 'fw-pump', version: 1 })
    await ok(`sign submit ${file}`)
  }
  expect(await ok(`release publish ${release}`)).toMatchObject({ state: 'published' })
})

test('a rollout that another has to approve, edited and scheduled', async () => {
  const draft = 'rollout create spring --release pump/firmware/1.0.0 --group lab --approvals 1'
  expect(await ok(draft)).toMatchObject({ state: 'draft', approvals: { needed: 1, missing: 1 } })
  expect((await fleetseal('rollout start spring')).err).toMatch(/^not-ready: 1 have to approve/)
  expect((await fleetseal('rollout approve spring')).err).toMatch(/^not-allowed: Whoever made it/)
  const definition = await fleetseal('rollout definition spring')
  expect(definition.out).toContain('"approvalsNeeded": 1')
  const key = await ok('api-key create ben --role operator')
  const file = join(folder, 'ben')
  await writeFile(file, String(key['secret']))
  const approved = await fleetseal('rollout approve spring', { FLEETSEAL_API_KEY: file })
  expect(approved.out).toContain('1 of 1: key:')
  expect(await fleetseal('rollout edit spring')).toMatchObject({ code: 2 })
  expect((await fleetseal('rollout edit spring --approvals 0')).err).toContain('make a new rollout')
  const edited = await fleetseal('rollout edit spring --phase 20:hold --phase 100 --start-at 12h')
  expect(edited.out).toMatch(/approvals: +0 of 1; 1 missing/)
  expect(edited.out).toContain('starts at')
  expect(await ok('rollout edit spring --start-at none --reason tired')).toMatchObject({
    startAt: null,
    state: 'draft',
  })
  await ok('rollout cancel spring')
})

test('a rollout is drafted, started, paused, resumed and cancelled', async () => {
  await ok(
    'rollout create r1 --release pump/firmware/1.0.0 --group lab --phase cohort=lab:hold --phase count=5:seen=12h:rate=50/min --phase 100 --priority 600 --max-in-flight 20 --bytes-per-minute 1G',
  )
  const shown = await fleetseal('rollout show r1')
  expect(shown.out).toMatch(/phase 1: +cohort, hold/)
  expect(shown.out).toMatch(/phase 2: +first 5, seen within PT12H, 50\/min/)
  expect(shown.out).toMatch(/in flight: +at most 20/)
  expect(shown.out).toMatch(/priority: +600/)
  expect(await ok('rollout start r1')).toMatchObject({ state: 'running', phase: 1 })
  expect(await ok('rollout pause r1 --reason lunch')).toMatchObject({ state: 'paused' })
  const watched = await fleetseal('rollout show r1 --watch')
  expect(watched.code).toBe(1)
  expect(watched.err).toContain('lunch')
  expect(await ok('rollout resume r1')).toMatchObject({ state: 'running' })
  expect(await ok('rollout cancel r1')).toMatchObject({ state: 'cancelled' })
  expect(await fleetseal('rollout start r1')).toMatchObject({ code: 1 })
  expect((await fleetseal('rollout deployments r1')).out).toBe('none\n')
  expect(
    (
      await fleetseal(
        'rollout create r2 --release pump/firmware/1.0.0 --group lab --phase 50 --phase 20',
      )
    ).code,
  ).toBe(1)
})

test('keys: made, used, revoked', async () => {
  const made = await fleetseal('api-key create ci --role viewer --expires 1h --json')
  const { id, secret } = z
    .object({ id: z.string(), secret: z.string() })
    .parse(JSON.parse(made.out))
  const asCi = { FLEETSEAL_API_KEY: secret }
  expect((await fleetseal('group list', asCi)).code).toBe(0)
  expect((await fleetseal('group create x', asCi)).err).toContain('not-allowed')
  await fleetseal(`api-key revoke ${id}`)
  expect(await fleetseal('group list', asCi)).toMatchObject({ code: 4 })
})

test('roles of one’s own, and rights for some groups only', async () => {
  expect((await fleetseal('role list')).out).toContain('release-manager')
  expect((await fleetseal('role permissions')).out).toContain('devices:read')
  await ok('role create night --allow devices:read --allow groups:read --allow self:read')
  expect(await ok('role change night --allow devices:read --allow self:read')).toMatchObject({
    permissions: ['devices:read', 'self:read'],
  })
  const { id, secret } = z
    .object({ id: z.string(), secret: z.string() })
    .parse(await ok('api-key create nora --role night --group lab'))
  const asNora = { FLEETSEAL_API_KEY: secret }
  expect((await fleetseal('device list', asNora)).code).toBe(0)
  expect((await fleetseal('group list', asNora)).err).toContain('not-allowed')
  expect((await ok(`grant add key:${id} viewer --group lab`))['grants']).toHaveLength(2)
  expect((await fleetseal('group list', asNora)).out).toContain('lab')
  expect((await ok(`grant remove key:${id} night --group lab`))['grants']).toHaveLength(1)
  expect(await ok(`grant set key:${id} signer`)).toMatchObject({ grants: [{ role: 'signer' }] })
  expect((await fleetseal('grant list --role signer')).out).toContain('nora')
  expect((await fleetseal('role delete night')).code).toBe(0)
})

test('the audit chain holds and tells all of it', async () => {
  const verified = await fleetseal('audit verify')
  expect(verified).toMatchObject({ code: 0 })
  expect(verified.out).toContain('holds')
  const actions = (await fleetseal('audit list --limit 200')).out
  for (const action of [
    'group.create',
    'device.disable',
    'metadata.publish',
    'rollout.start',
    'api-key.revoke',
  ]) {
    expect(actions).toContain(action)
  }
  expect((await fleetseal('events list --kind device-disabled')).out).toContain('lost')
})

test('a server whose authority is not the pinned one is not spoken to', async () => {
  const other = join(folder, 'other.pem')
  await writeFile(other, rootCertificates[0] ?? '')
  const wrong = await fleetseal('group list', { FLEETSEAL_CA: other })
  expect(wrong.code).toBe(3)
  expect(wrong.err).toContain('--ca')
})

test('through the launcher: a fleetseal that anybody can type', async () => {
  const launcher = new URL('../../cli/fleetseal.cjs', import.meta.url).pathname
  const { promise, resolve } = Promise.withResolvers<{ code: unknown; out: string }>()
  const env = { PATH: process.env['PATH'], FLEETSEAL_API_KEY: await server.apiKey() }
  execFile(
    process.execPath,
    [
      launcher,
      'group',
      'list',
      '--json',
      '--server',
      `https://localhost:${server.ports.api}`,
      '--ca',
      server.ca,
    ],
    { env },
    (error, out) => resolve({ code: error?.code ?? 0, out }),
  )
  const { code, out } = await promise
  expect(code).toBe(0)
  expect(JSON.parse(out)).toMatchObject([{ name: 'lab' }])
})

test('what takes more than one: its author is told the id, another agrees, and the author does it again', async () => {
  await ok('group create vault')
  const made = await ok('api-key create olga --role operator')
  const asOlga = { FLEETSEAL_API_KEY: z.object({ secret: z.string() }).parse(made).secret }
  expect(await ok('approval require group-disable --needed 1')).toMatchObject({ needed: 1 })
  const disable = 'group disable vault --reason stolen'
  const refused = await fleetseal(disable)
  expect(refused.code).toBe(1)
  expect(refused.err).toContain('approval-needed')
  const id = /next: .*fleetseal approval approve ([0-9a-f-]{36})/.exec(refused.err)?.[1] ?? ''
  expect((await fleetseal(`approval approve ${id}`)).code).toBe(1)
  expect((await fleetseal('approval list', asOlga)).out).toContain(id)
  const agreed = await fleetseal(`approval approve ${id} --reason seen`, asOlga)
  expect(agreed.out).toContain('1 of 1')
  expect((await fleetseal(disable)).code).toBe(0)
  expect((await fleetseal('approval policies')).out).toContain('group-disable')
})
