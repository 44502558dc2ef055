import { execFile, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { toPem } from '../../pki/pem.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { listenForDevices } from '../support/est-client.ts'
import { createIdentityWorld, type IdentityWorld, unique } from '../support/identity-world.ts'
import { openssl, opensslVersion, scratchDirectory } from '../support/openssl.ts'

const hasCurl = spawnSync('curl', ['--version']).status === 0
const isPossible = opensslVersion !== undefined && hasCurl
const run = promisify(execFile)

let handle: DatabaseHandle
let world: IdentityWorld
let listeners: Awaited<ReturnType<typeof listenForDevices>>
const files = scratchDirectory()
const file = (name: string) => join(files.path, name)

beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  listeners = await listenForDevices(world.ctx)
  files.write('root.pem', world.ctx.authorities.rootPem)
})
afterAll(async () => {
  await listeners[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
  files[Symbol.dispose]()
})

/** Curl with the pinned root; the answer in a file. */
async function curl(operation: string, ...more: string[]): Promise<string> {
  const out = file('answer')
  const url = `https://localhost:${listeners.device.port}/.well-known/est/${operation}`
  const common = `-sS --fail-with-body --max-time 20 --cacert ${file('root.pem')} -o ${out}`
  const body = ['-H', 'Content-Type: application/pkcs10', '--data-binary', `@${file('csr.b64')}`]
  await run('curl', [...common.split(' '), ...body, ...more, url])
  return readFileSync(out, 'latin1')
}

function writeRequest(subject: string, ...extension: string[]): void {
  const key = file('request.key')
  openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', key)
  const csr = openssl('req', '-new', '-key', key, '-subj', subject, '-outform', 'DER', ...extension)
  files.write('csr.b64', csr.toString('base64'))
}

/** What stands in the parts, without their headers. */
function partsOf(answer: string): string[] {
  const boundary = answer.split('\r\n', 1)[0] ?? ''
  return answer
    .split(boundary)
    .slice(1, -1)
    .map((part) => part.slice(part.indexOf('\r\n\r\n')))
}

test.skipIf(!isPossible)(
  'E16 curl and openssl take a key and its certificate, and renew with them',
  async () => {
    const profile = await world.givenProfile()
    const renewal = { opensPercent: 0 }
    await world.givenEstPolicy(profile.id, { renewal, serverKey: 'P-256' })
    const token = await world.givenToken(profile.id)
    writeRequest(`/CN=${unique('SN')}`)
    const user = ['-u', `${profile.name}:${token}`]
    const [key = '', certificate = ''] = partsOf(await curl('serverkeygen', ...user))
    files.write('key.der', Buffer.from(key, 'base64'))
    files.write('certificate.p7', Buffer.from(certificate, 'base64'))
    const input = ['-in', file('certificate.p7'), '-inform', 'DER']
    files.write('leaf.pem', openssl('pkcs7', ...input, '-print_certs'))
    openssl('pkey', '-in', file('key.der'), '-inform', 'DER', '-out', file('key.pem'))
    const spki = openssl('pkey', '-in', file('key.pem'), '-pubout').toString()
    expect(openssl('x509', '-in', file('leaf.pem'), '-noout', '-pubkey').toString()).toBe(spki)
    files.write('issuer.pem', toPem('CERTIFICATE', world.ctx.authorities.devices.der))
    const chain = ['-CAfile', file('root.pem'), '-untrusted', file('issuer.pem')]
    openssl('verify', '-x509_strict', '-purpose', 'sslclient', ...chain, file('leaf.pem'))

    const text = openssl('x509', '-in', file('leaf.pem'), '-noout', '-text').toString()
    const [uri = ''] = /urn:uuid:[0-9a-f-]{36}/.exec(text) ?? []
    const [, name = ''] = /Subject: CN ?= ?([^\s,]+),/.exec(text) ?? []
    writeRequest(`/CN=${name}/serialNumber=${name}`, '-addext', `subjectAltName=URI:${uri}`)
    const client = ['--cert', file('leaf.pem'), '--key', file('key.pem')]
    const again = await curl('simplereenroll', ...client)
    files.write('next.p7', Buffer.from(again, 'base64'))
    const next = openssl('pkcs7', '-in', file('next.p7'), '-inform', 'DER', '-print_certs')
    expect(next.toString()).toContain('BEGIN CERTIFICATE')
    // With the certificate alone, another key.
    expect(partsOf(await curl('serverkeygen', ...client))).toHaveLength(2)
  },
)
