import { spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { beforeEach, expect, test } from 'vitest'

import { keyIdOf, keyIdOfRequest } from '../../cli/ceremony/key-id.ts'
import { createOperator } from '../../demo/fleetseal.ts'
import { parseCrl } from '../../pki/crl/parse.ts'
import { fromPem, toPem } from '../../pki/pem.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { answerRequest, createRequest } from '../../server/authorities/requests.ts'
import { importRoot } from '../../server/authorities/roots.ts'
import { actOnAuthority } from '../../server/authorities/service.ts'
import { latestCrl, publishDueCrls } from '../../server/certificates/crl.ts'
import { importRootCrl } from '../../server/certificates/root-crl.ts'
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
import { opensslVersion } from '../support/openssl.ts'

let world: IdentityWorld
let ctx: WorldContext
let base: string
/** The machine of the root: no server, no network. */
const { fleetseal } = createOperator({}, () => {})

beforeEach(async () => {
  const handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  ctx = world.ctx
  base = await mkdtemp(join(tmpdir(), 'fleetseal-root-list-'))
  await writeFile(join(base, 'passphrase'), 'correct horse battery\n')
  return async () => {
    await rm(base, { recursive: true, force: true })
    await world[Symbol.asyncDispose]()
    await handle[Symbol.asyncDispose]()
  }
})

const id = () => newId(ctx.clock.now())
const at = () => ['--dir', join(base, 'root'), '--passphrase-file', join(base, 'passphrase')]
const act = async (authorityId: string, action: 'activate' | 'retire') =>
  await actOnAuthority(ctx, { id: authorityId, action, ...by })

/** A root elsewhere takes over from the one that the first start made. */
async function givenRootElsewhere(): Promise<string> {
  const old = join(base, 'old.pem')
  await writeFile(old, ctx.authorities.rootPem)
  const [der = Buffer.alloc(0)] = fromPem(ctx.authorities.rootPem, 'CERTIFICATE')
  await fleetseal('ceremony', 'init', 'Elsewhere Root', '--years', '25', ...at())
  const out = join(base, 'update.pem')
  const confirm = ['--confirm', keyIdOf(parseCertificate(der).spki)]
  await fleetseal('ceremony', 'rollover', old, '--out', out, ...confirm, ...at())
  const root = await importRoot(ctx, { id: id(), file: await readFile(out, 'utf8'), ...by })
  await act(root.id, 'activate')
  return root.id
}

async function givenIssuer(): Promise<{ id: string; file: string; der: Buffer }> {
  const request = await createRequest(ctx, { id: id(), purpose: 'devices', ...by })
  const file = join(base, `${unique('request')}.pem`)
  await writeFile(file, request.request)
  const confirm = ['--confirm', keyIdOfRequest(request.request) ?? '']
  await fleetseal('ceremony', 'sign', file, ...confirm, ...at())
  const answer = await readFile(`${file}.answer.pem`, 'utf8')
  const row = await answerRequest(ctx, { id: request.id, answer, ...by })
  const own = join(base, `${row.id}.pem`)
  await writeFile(own, toPem('CERTIFICATE', row.certificate))
  await act(row.id, 'activate')
  return { id: row.id, file: own, der: row.certificate }
}

async function list(...more: string[]): Promise<string> {
  const out = join(base, `${unique('list')}.pem`)
  await fleetseal('ceremony', 'crl', '--out', out, ...at(), ...more)
  return await readFile(out, 'utf8')
}

const bring = async (authorityId: string, file: string) =>
  await importRootCrl(ctx, { authorityId, file, ...by })
const revoking = (issuer: { file: string; der: Buffer }) => [
  '--revoke',
  issuer.file,
  '--reason',
  'keyCompromise',
  '--confirm',
  keyIdOf(parseCertificate(issuer.der).spki),
]

test('the list of a root elsewhere is published, numbered, and never goes back', async () => {
  const rootId = await givenRootElsewhere()
  const first = await list()
  const second = await list()
  expect(await bring(rootId, second)).toMatchObject({ number: 2, revoked: [] })
  expect(await bring(rootId, second)).toMatchObject({ number: 2 })
  await expect(bring(rootId, first)).rejects.toMatchObject({ code: 'conflict' })
  const [der = Buffer.alloc(0)] = fromPem(second, 'X509 CRL')
  expect((await latestCrl(ctx.db, rootId))?.der).toEqual(der)
  // The worker that makes lists leaves it alone.
  await publishDueCrls(ctx)
  expect((await latestCrl(ctx.db, rootId))?.der).toEqual(der)

  // One of somebody else, one that has ended, and one of the root whose key is here.
  const foreign = await latestCrl(ctx.db, ctx.authorities.devices.id)
  await expect(
    bring(rootId, toPem('X509 CRL', foreign?.der ?? Buffer.alloc(0))),
  ).rejects.toMatchObject({ code: 'invalid-request' })
  await expect(bring(ctx.authorities.servers.id, second)).rejects.toMatchObject({
    code: 'conflict',
  })
  const brief = await list('--days', '1')
  ctx.clock.advance({ seconds: 10 * 365 * 86_400 })
  await expect(bring(rootId, brief)).rejects.toThrow(/has ended/)
})

test('an authority on the list is never activated again; one that issues now is not revoked by accident', async () => {
  const rootId = await givenRootElsewhere()
  const bad = await givenIssuer()
  const revoked = await list(...revoking(bad))
  await expect(bring(rootId, revoked)).rejects.toThrow(/issues now/)
  expect(await latestCrl(ctx.db, rootId)).toBeUndefined()

  const good = await givenIssuer()
  expect(await bring(rootId, revoked)).toMatchObject({ revoked: [bad.id] })
  await expect(act(bad.id, 'activate')).rejects.toThrow(/revoked this authority/)
  // The next list still has it, and marks nobody twice.
  expect(await bring(rootId, await list())).toMatchObject({ revoked: [bad.id] })
  const [der = Buffer.alloc(0)] = fromPem(await list(), 'X509 CRL')
  expect(parseCrl(der).entryCount).toBe(1)
  const events = await ctx.db
    .selectFrom('security_event')
    .select('facts')
    .where('kind', '=', 'authority-revoked')
    .execute()
  expect(events).toHaveLength(1)
  expect(ctx.authorities.devices.id).toBe(good.id)
})

test('a root takes back only what it made, and its record cannot be damaged unseen', async () => {
  const rootId = await givenRootElsewhere()
  const file = join(base, 'servers.pem')
  await writeFile(file, toPem('CERTIFICATE', ctx.authorities.servers.der))
  const of = { file, der: ctx.authorities.servers.der }
  await expect(list(...revoking(of))).rejects.toThrow(/did not make the certificate/)
  await expect(list('--revoke', file)).rejects.toThrow(/Why are they taken back/)
  expect(await bring(rootId, await list())).toMatchObject({ number: 1 })
  await writeFile(join(base, 'root', 'revocations.json'), '{"number":1}')
  await expect(list()).rejects.toThrow(/damaged: restore it/)
})

test('authorities made after the first list name it, and openssl checks the whole chain', async ({
  skip,
}) => {
  const rootId = await givenRootElsewhere()
  const before = await givenIssuer()
  expect(parseCertificate(before.der).crlDistributionPoints).toBeUndefined()
  await bring(rootId, await list())
  const issuer = await givenIssuer()
  expect(parseCertificate(issuer.der).crlDistributionPoints?.[0]?.uris).toEqual([
    ctx.authorities.urls.crl(rootId),
  ])
  const profile = await world.givenProfile()
  const device = await world.enrollWith(
    await world.givenToken(profile.id),
    newRequest(unique('SN')).csr,
  )
  await publishDueCrls(ctx)
  if (!opensslVersion) skip('openssl is missing on this machine')
  const verdict = async () => {
    const lists = [await latestCrl(ctx.db, issuer.id), await latestCrl(ctx.db, rootId)]
    const names = { leaf: 'leaf.pem', root: 'root.pem', lists: 'lists.pem' }
    const path = (name: string) => join(base, name)
    await writeFile(path(names.leaf), toPem('CERTIFICATE', device))
    await writeFile(path(names.root), ctx.authorities.rootPem)
    const text = lists.map((row) => toPem('X509 CRL', row?.der ?? Buffer.alloc(0))).join('')
    await writeFile(path(names.lists), text)
    const chain = ['-CAfile', path(names.root), '-untrusted', issuer.file]
    const checks = ['-x509_strict', '-crl_check_all', '-attime', `${seconds()}`]
    const { status, stderr } = spawnSync(
      'openssl',
      ['verify', ...checks, ...chain, '-CRLfile', path(names.lists), path(names.leaf)],
      { encoding: 'utf8' },
    )
    return status === 0 ? 'accepted' : stderr
  }
  expect(await verdict()).toBe('accepted')

  await givenIssuer()
  await bring(rootId, await list(...revoking(issuer)))
  expect(await verdict()).toMatch(/error 23 at 1 depth lookup: certificate revoked/)
})

/** The test's clock may be elsewhere; the ceremony uses the one of the machine. */
function seconds(): number {
  return Math.floor(Math.max(ctx.clock.now().getTime(), Date.now()) / 1000) + 1
}
