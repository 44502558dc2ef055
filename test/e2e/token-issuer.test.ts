import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { keyIdOfRequest } from '../../cli/ceremony/key-id.ts'
import { createOperator } from '../../demo/fleetseal.ts'
import { DeviceAgent } from '../../device-sim/agent.ts'
import { FileDisk } from '../../device-sim/disk.ts'
import { enrollDevice } from '../../device-sim/enroll.ts'
import { findIdentity } from '../../device-sim/identity.ts'
import { fromPem } from '../../pki/pem.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import type { AuthorityView } from '../../server/authorities/wire.ts'
import { hardwareId, model, openSite, type Site } from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'
import { makeToken, noToken, type SoftToken, tokenPin } from '../support/softhsm.ts'

const judge = test.skipIf(noToken !== undefined)
let token: SoftToken
let server: RunningServer
let site: Site
let base: string
const agents: DeviceAgent[] = []

beforeAll(async () => {
  if (noToken !== undefined) return
  token = makeToken()
  base = await mkdtemp(join(tmpdir(), 'fleetseal-token-issuer-'))
  server = await startServer({
    ...token.environment,
    FLEETSEAL_PKCS11_MODULE: token.modulePath,
    FLEETSEAL_PKCS11_PIN_FILE: token.pinFile,
  })
  site = await openSite(server)
})
afterAll(async () => {
  await Promise.all(agents.map(async (agent) => await agent.stop()))
  await server?.[Symbol.asyncDispose]()
  token?.[Symbol.dispose]()
  if (base) await rm(base, { recursive: true, force: true })
})

test('there is a token to test with', ({ skip }) => {
  if (noToken !== undefined) skip(noToken)
})

async function enrolled(serial: string) {
  const dir = join(base, serial)
  await enrollDevice({
    dir,
    root: await readFile(server.ca, 'utf8'),
    imageRoot: site.imageRoot,
    directorRoot: site.directorRoot,
    profile: site.profile,
    token: site.token,
    config: {
      format: 1,
      serverHost: 'localhost',
      devicePort: server.ports.device,
      mqttPort: server.ports.mqtt,
      model,
      hardwareIds: [hardwareId],
      components: { main: { version: '1.0.0', build: 100, svn: 1 } },
      serialNumber: serial,
      allowEvaluation: true,
      helloRetryMs: 2_000,
      reconnectMaxMs: 500,
    },
  })
  const identity = await findIdentity(await FileDisk.open(dir))
  if (!identity) throw new Error('no identity')
  return { dir, leaf: identity.leaf }
}

const fleetseal = async <T = Record<string, unknown>>(...args: string[]) =>
  await site.operator.fleetseal<T>(...args)
const isOf = (leaf: { issuer: Buffer }, { certificate }: AuthorityView) =>
  fromPem(certificate, 'CERTIFICATE').some((der) =>
    parseCertificate(der).subject.equals(leaf.issuer),
  )

judge(
  'K4 an issuer whose key is in a token issues, survives a restart, and says when the token is away',
  async () => {
    const key = token.uri('issuer-1')
    const made = await fleetseal<AuthorityView>('authority', 'create', 'devices', '--key', key)
    expect(made).toMatchObject({ state: 'prepared', keyUri: key, hasKey: true, algorithm: 'P-256' })
    await fleetseal('authority', 'activate', made.id)
    const first = await enrolled('TOKEN-1')
    expect(isOf(first.leaf, made)).toBe(true)

    await server.stop()
    await server.restart()
    const second = await enrolled('TOKEN-2')
    expect(isOf(second.leaf, made)).toBe(true)

    // The token is pulled out: devices that are enrolled go on, nobody gets a certificate, and nothing crashes.
    await server.stop()
    token.unplug()
    await server.restart()
    await expect(enrolled('TOKEN-3')).rejects.toThrow(/503/)
    const agent = new DeviceAgent({ dir: second.dir })
    agents.push(agent)
    await agent.start()
    await expect.poll(() => agent.status()?.connected, { timeout: 60_000 }).toBe(true)
    await expect(
      fleetseal('authority', 'create', 'devices', '--key', token.uri('issuer-2')),
    ).rejects.toThrow(/no token fleet: is it plugged in/)
    // Who is cut off is cut off; the list for partners follows when the token is back.
    const revoke = async () => await fleetseal('device', 'revoke', 'TOKEN-1', '--reason', 'stolen')
    await expect(revoke()).rejects.toThrow(/no token fleet|The token refuses/)
    expect(await fleetseal('device', 'show', 'TOKEN-1')).toMatchObject({ state: 'revoked' })
    token.plug()
    await expect
      .poll(async () => await enrolled('TOKEN-3').catch(() => undefined), {
        timeout: 60_000,
        interval: 1_000,
      })
      .toBeDefined()
    await revoke()
    expect(server.output()).not.toContain(tokenPin)
  },
)

judge('K4 a root elsewhere certifies a key in the token', async () => {
  const secret = join(base, 'passphrase')
  await writeFile(secret, 'correct horse battery\n')
  const dir = join(base, 'root')
  const offline = createOperator({}, () => {})
  const ceremony = async (...args: string[]) =>
    await offline.fleetseal('ceremony', ...args, '--dir', dir, '--passphrase-file', secret)
  await ceremony('init', 'Elsewhere Root')
  const update = join(base, 'update.pem')
  const oldKey = parseCertificate(
    fromPem(await readFile(server.ca, 'utf8'), 'CERTIFICATE')[0] ?? Buffer.alloc(0),
  ).spki
  const { keyIdOf } = await import('../../cli/ceremony/key-id.ts')
  await ceremony('rollover', server.ca, '--out', update, '--confirm', keyIdOf(oldKey))
  const { id } = await fleetseal<AuthorityView>('authority', 'import-root', update)
  await fleetseal('authority', 'activate', id)

  const request = join(base, 'request.pem')
  const key = token.uri('below-elsewhere')
  await fleetseal('authority', 'request', 'devices', '--key', key, '--out', request)
  const keyId = keyIdOfRequest(await readFile(request, 'utf8')) ?? ''
  await ceremony('sign', request, '--confirm', keyId)
  const answer = `${request}.answer.pem`
  const made = await fleetseal<AuthorityView>('authority', 'answer', answer)
  expect(made).toMatchObject({ issuerId: id, keyUri: key })
  await fleetseal('authority', 'activate', made.id)
  expect(isOf((await enrolled('TOKEN-9')).leaf, made)).toBe(true)

  // The same key is not given to two authorities.
  await expect(
    fleetseal('authority', 'request', 'devices', '--key', key, '--out', join(base, 'again.pem')),
  ).rejects.toThrow(/the one of another authority/)
  await expect(
    fleetseal(
      'authority',
      'request',
      'devices',
      '--key',
      'pkcs11:token=fleet;object=x?module-path=/tmp/x.so',
      '--out',
      join(base, 'again.pem'),
    ),
  ).rejects.toThrow(/leave module-path out/)
})
