import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { connect } from 'node:tls'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { parseCertificate } from '../../pki/x509/parse.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createKeyBundle } from '../../server/enrollment/key-bundle.ts'
import { newId } from '../../server/ids.ts'
import { actOnDevice } from '../../server/incidents/service.ts'
import { createTestDatabase } from '../support/database.ts'
import { by, createIdentityWorld, type IdentityWorld } from '../support/identity-world.ts'
import { openssl, opensslAccepts, opensslVersion, scratchDirectory } from '../support/openssl.ts'

let handle: DatabaseHandle
let world: IdentityWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const algorithms = ['P-256', 'P-384', 'RSA-2048'] as const
const bundle = async (
  deviceId: string,
  {
    keyAlgorithm = 'P-256',
    id = newId(world.ctx.clock.now()),
  }: {
    keyAlgorithm?: (typeof algorithms)[number]
    id?: string
  } = {},
) => await createKeyBundle(world.ctx, { id, deviceId, body: { keyAlgorithm }, ...by })

test.each(algorithms)(
  'a %s bundle opens with its passphrase, for TLS and for openssl',
  async (keyAlgorithm) => {
    const { deviceId } = await world.givenDevice()
    const made = await bundle(deviceId, { keyAlgorithm })
    expect(made.passphrase).toMatch(/^([a-z2-9]{4}-){4}[a-z2-9]{4}$/)
    const server = https
      .createServer({ pfx: made.pkcs12, passphrase: made.passphrase })
      .listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as AddressInfo
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
    await new Promise((resolve) => socket.once('secureConnect', resolve))
    const shown = socket.getPeerX509Certificate()?.raw ?? Buffer.alloc(0)
    socket.destroy()
    server.close()
    expect(parseCertificate(shown).subjectAltName).toEqual([
      { type: 'uri', value: `urn:uuid:${deviceId}` },
    ])
    if (!opensslVersion) return
    using files = scratchDirectory()
    const args = ['pkcs12', '-in', files.write('bundle.p12', made.pkcs12), '-noenc', '-passin']
    expect(openssl(...args, `pass:${made.passphrase}`).toString()).toContain('PRIVATE KEY')
    expect(opensslAccepts(...args, `pass:${made.passphrase}x`)).toBe(false)
  },
)

test('neither key nor passphrase is stored, and the act is', async () => {
  const { deviceId } = await world.givenDevice()
  const made = await bundle(deviceId)
  const rows = await handle.db
    .selectFrom('audit_event')
    .selectAll()
    .where('subject', '=', deviceId)
    .where('action', '=', 'key-bundle.create')
    .execute()
  expect(rows).toMatchObject([
    { actor: by.actor, facts: { certificateId: made.certificateId, keyAlgorithm: 'P-256' } },
  ])
  expect(JSON.stringify(rows)).not.toContain(made.passphrase)
})

test('the same call again shows nothing; another one makes another key', async () => {
  const { deviceId } = await world.givenDevice()
  const id = newId(world.ctx.clock.now())
  const made = await bundle(deviceId, { id })
  await expect(bundle(deviceId, { id })).rejects.toMatchObject({ code: 'conflict' })
  const other = await bundle(deviceId)
  expect(other.passphrase).not.toBe(made.passphrase)
  expect(other.certificateId).not.toBe(made.certificateId)
})

test('a device that is cut off, or whose profile wants another kind of key, gets none', async () => {
  const profile = await world.givenProfile({ keyPolicy: ['P-256'] })
  const { deviceId } = await world.givenDevice({ profile })
  await expect(bundle(deviceId, { keyAlgorithm: 'RSA-2048' })).rejects.toMatchObject({
    code: 'not-allowed',
  })
  const operator = { id: by.actor, requestId: by.requestId }
  const command = { deviceId, reason: 'test', by: operator }
  await actOnDevice(world.ctx, { ...command, action: 'disable' })
  await expect(bundle(deviceId)).rejects.toMatchObject({ code: 'not-allowed' })
  await actOnDevice(world.ctx, { ...command, action: 'enable' })
  expect((await bundle(deviceId)).pkcs12.length).toBeGreaterThan(1000)
  await expect(bundle(newId(world.ctx.clock.now()))).rejects.toMatchObject({ code: 'not-found' })
})
