import { spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { toPem } from '../../pki/pem.ts'
import { type Certificate, parseCertificate } from '../../pki/x509/parse.ts'
import { publishDueCrls } from '../../server/certificates/crl.ts'
import { changeRevocation, type RevocationAction } from '../../server/certificates/revocation.ts'
import { createTestDatabase } from '../support/database.ts'
import { listenForDevices } from '../support/est-client.ts'
import {
  createIdentityWorld,
  type Enrolled,
  type IdentityWorld,
  type WorldContext,
} from '../support/identity-world.ts'
import { openssl, opensslVersion, scratchDirectory } from '../support/openssl.ts'

/* What openssl, as a partner would use it, makes of the lists and answers of a running server. */

const judge = test.skipIf(!opensslVersion)
const files = scratchDirectory()
const stack = new AsyncDisposableStack()
let world: IdentityWorld
let ctx: WorldContext
let issuerFile: string
let rootFile: string

test(`the judge is ${opensslVersion ?? 'missing'}`, ({ skip }) => {
  if (!opensslVersion) skip('openssl is missing on this machine')
})

beforeAll(async () => {
  if (!opensslVersion) return
  world = stack.use(await createIdentityWorld(stack.use(await createTestDatabase())))
  ctx = world.ctx
  stack.use(await listenForDevices(ctx))
  await publishDueCrls(ctx)
  issuerFile = files.write('issuer.pem', toPem('CERTIFICATE', ctx.authorities.devices.der))
  rootFile = files.write('root.pem', ctx.authorities.rootPem)
})
afterAll(async () => {
  await stack.disposeAsync()
  files[Symbol.dispose]()
})

const change = async ({ certificateId }: Enrolled, action: RevocationAction) =>
  await changeRevocation(ctx, { ...action, certificateId, by: { id: 'key:test' } })

let count = 0
const pemOf = ({ der }: Enrolled) => files.write(`${++count}.pem`, toPem('CERTIFICATE', der))

async function crlAt(url: string): Promise<Buffer> {
  const response = await fetch(url)
  expect([url, response.status]).toEqual([url, 200])
  return Buffer.from(await response.arrayBuffer())
}

const shardUrl = ({ crlDistributionPoints }: Certificate) =>
  crlDistributionPoints?.[0]?.uris[0] ?? ''
const deltaUrl = (url: string) => url.replace(/\.crl$/, '-delta.crl')

/** Whether openssl trusts the certificate, given these lists beside the root's. */
async function accepts(device: Enrolled, lists: readonly Buffer[], ...more: string[]) {
  const text = lists.map((der) => toPem('X509 CRL', der)).join('')
  const file = files.write(`${++count}.crl`, text)
  const chain = ['-CAfile', rootFile, '-untrusted', issuerFile]
  const { status, stderr } = spawnSync(
    'openssl',
    ['verify', '-x509_strict', '-crl_check', '-CRLfile', file, ...chain, ...more, pemOf(device)],
    { encoding: 'utf8' },
  )
  return { accepted: status === 0, why: stderr }
}

/** What `openssl ocsp` prints when it asks over the network; not waited for in this thread, which has to answer. */
async function ocspSays(device: Enrolled, ...more: string[]): Promise<string> {
  const [url = ''] = openssl('x509', '-in', pemOf(device), '-noout', '-ocsp_uri')
    .toString()
    .split('\n')
  expect(url).toBe(ctx.authorities.urls.ocsp())
  const child = spawn('openssl', [
    'ocsp',
    '-issuer',
    issuerFile,
    ...more,
    '-cert',
    pemOf(device),
    '-CAfile',
    rootFile,
    '-url',
    url,
  ])
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
  }
  await new Promise((resolve) => child.once('close', resolve))
  return text
}

judge(
  'V4, V5 shard and whole list by the URL in the certificate, and a delta that releases',
  async () => {
    const device = await world.givenDevice()
    const bystander = await world.givenDevice()
    const url = shardUrl(parseCertificate(device.der))
    const whole = ctx.authorities.urls.crl(ctx.authorities.devices.id)
    expect((await accepts(device, [await crlAt(url)])).accepted).toBe(true)

    await change(device, { action: 'hold' })
    for (const list of [url, whole]) {
      const { accepted, why } = await accepts(device, [await crlAt(list)])
      expect([accepted, why]).toEqual([false, expect.stringContaining('certificate revoked')])
    }
    expect(
      (await accepts(bystander, [await crlAt(shardUrl(parseCertificate(bystander.der)))])).accepted,
    ).toBe(true)

    const held = await crlAt(url)
    await change(device, { action: 'release' })
    const deltas = ['-extended_crl', '-use_deltas']
    const delta = await crlAt(deltaUrl(url))
    expect((await accepts(device, [held], ...deltas)).accepted).toBe(false)
    expect((await accepts(device, [held, delta], ...deltas)).accepted).toBe(true)
    expect((await accepts(device, [await crlAt(url)])).accepted).toBe(true)

    await change(device, { action: 'revoke', reason: 'keyCompromise' })
    const now = [held, await crlAt(deltaUrl(url))]
    expect((await accepts(device, now, ...deltas)).accepted).toBe(false)
    for (const list of [url, whole, deltaUrl(url), deltaUrl(whole)]) {
      const file = files.write('list.der', await crlAt(list))
      const text = openssl(
        'crl',
        '-in',
        file,
        '-inform',
        'DER',
        '-noout',
        '-text',
        '-CAfile',
        issuerFile,
      )
      expect(text.toString()).toContain('Key Compromise')
    }
  },
)

judge('V10 openssl ocsp over the network: with and without a nonce, by both hashes', async () => {
  const device = await world.givenDevice()
  const expectStatus = async (status: RegExp) => {
    for (const more of [[], ['-no_nonce'], ['-sha256']]) {
      const text = await ocspSays(device, ...more)
      expect(text).toContain('Response verify OK')
      expect(text).toMatch(status)
      expect(text).not.toMatch(/WARNING|error/i)
    }
  }
  await expectStatus(/: good/)
  await change(device, { action: 'hold' })
  await expectStatus(/: revoked[\s\S]*certificateHold/)
  await change(device, { action: 'release' })
  await expectStatus(/: good/)
  await change(device, { action: 'revoke', reason: 'superseded' })
  await expectStatus(/: revoked[\s\S]*superseded/)
})

judge('V10 an answer to a GET is the one that openssl verifies from a file', async () => {
  const device = await world.givenDevice()
  const request = join(files.path, 'request.der')
  const certificate = pemOf(device)
  openssl('ocsp', '-issuer', issuerFile, '-cert', certificate, '-no_nonce', '-reqout', request)
  const path = encodeURIComponent(readFileSync(request).toString('base64'))
  const response = await fetch(`${ctx.authorities.urls.ocsp()}/${path}`)
  const answer = files.write('answer.der', Buffer.from(await response.arrayBuffer()))
  const said = spawnSync(
    'openssl',
    [
      'ocsp',
      '-respin',
      answer,
      '-issuer',
      issuerFile,
      '-cert',
      certificate,
      '-no_nonce',
      '-CAfile',
      rootFile,
    ],
    { encoding: 'utf8' },
  )
  expect(`${said.stderr}${said.stdout}`).toMatch(/Response verify OK[\s\S]*: good/)
})
