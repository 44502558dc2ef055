import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { keyIdOfRequest } from '../../cli/ceremony/key-id.ts'
import { createOperator } from '../../demo/fleetseal.ts'
import { DeviceAgent } from '../../device-sim/agent.ts'
import { FileDisk } from '../../device-sim/disk.ts'
import { enrollDevice } from '../../device-sim/enroll.ts'
import { findIdentity } from '../../device-sim/identity.ts'
import { parseCrl, verifyCrl } from '../../pki/crl/parse.ts'
import { keyFamilyIn } from '../../pki/keys.ts'
import { encodeCertId, issuerHashes } from '../../pki/ocsp/cert-id.ts'
import { checkOcspResponse } from '../../pki/ocsp/check.ts'
import { buildOcspRequest } from '../../pki/ocsp/request.ts'
import { validatePath } from '../../pki/path-validate.ts'
import { fromPem } from '../../pki/pem.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import type { AuthorityView } from '../../server/authorities/wire.ts'
import { hardwareId, model, openSite, publishRelease, startRollout } from '../support/operator.ts'
import { freePort } from '../support/postgres.ts'
import { type RunningServer, startServer } from '../support/server.ts'

let base: string
let server: RunningServer | undefined
let agent: DeviceAgent | undefined

beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'fleetseal-quantum-'))
  await writeFile(join(base, 'passphrase'), 'correct horse battery\n')
})
afterAll(async () => {
  await agent?.stop()
  await server?.[Symbol.asyncDispose]()
  await rm(base, { recursive: true, force: true })
})

/** The machine of the root: no server, no network. */
const ceremony = async (verb: string, ...args: string[]) => {
  const at = ['--dir', join(base, 'root'), '--passphrase-file', join(base, 'passphrase')]
  return await createOperator({}, () => {}).fleetseal('ceremony', verb, ...args, ...at)
}

async function fetched(url: string, body?: Buffer): Promise<Buffer> {
  const headers = { 'Content-Type': 'application/ocsp-request' }
  const post = body && { method: 'POST', headers, body: new Uint8Array(body) }
  const response = await fetch(url, post)
  expect([url, response.status]).toEqual([url, 200])
  return Buffer.from(await response.arrayBuffer())
}

/** A server below a root that was made elsewhere, and a profile that takes ML-DSA keys only. */
async function givenServer() {
  await ceremony('init', 'Quantum Root', '--algorithm', 'ML-DSA-87')
  const list = join(base, 'root.crl.pem')
  await ceremony('crl', '--out', list)
  const root = await readFile(join(base, 'root', 'root.pem'), 'utf8')
  const rootFile = join(base, 'root-and-list.pem')
  await writeFile(rootFile, root + (await readFile(list, 'utf8')))

  // Certificates name it from the first start on.
  const publicPort = await freePort()
  const environment = {
    FLEETSEAL_DATA_DIR: base,
    FLEETSEAL_ROOT_FILE: rootFile,
    FLEETSEAL_PUBLIC_PORT: String(publicPort),
  }
  await expect(startServer(environment)).rejects.toThrow(/fleetseal ceremony sign/)
  await mkdir(join(base, 'data', 'ca', 'answers'), { recursive: true })
  for (const purpose of ['devices', 'servers']) {
    const file = join(base, 'data', 'ca', 'requests', `${purpose}.csr.pem`)
    const confirm = ['--confirm', keyIdOfRequest(await readFile(file, 'utf8')) ?? '']
    const out = join(base, 'data', 'ca', 'answers', `${purpose}.pem`)
    await ceremony('sign', file, '--out', out, ...confirm)
  }
  const started = await startServer(environment)
  server = started
  const site = await openSite(started)
  const { fleetseal } = site.operator
  await fleetseal('enrollment', 'create', 'quantum', '--group', 'lab', '--key', 'ML-DSA-65')
  const { token } = await fleetseal<{ token: string }>('enrollment', 'token', 'quantum')

  return { root, publicPort, started, site, token }
}

type Given = Awaited<ReturnType<typeof givenServer>>

async function enrolled({ root, started, site, token }: Given) {
  const device = {
    dir: join(base, 'device'),
    root,
    imageRoot: site.imageRoot,
    directorRoot: site.directorRoot,
    profile: 'quantum',
    token,
    config: {
      format: 1 as const,
      serverHost: 'localhost',
      devicePort: started.ports.device,
      mqttPort: started.ports.mqtt,
      model,
      hardwareIds: [hardwareId],
      components: { main: { version: '1.0.0', build: 100, svn: 1 } },
      serialNumber: 'PQ-CHAIN-1',
      keyAlgorithm: 'ML-DSA-65' as const,
      allowEvaluation: true,
      helloRetryMs: 2_000,
      reconnectMaxMs: 500,
    },
  }
  await enrollDevice(device)
  const identity = await findIdentity(await FileDisk.open(device.dir))
  if (!identity) throw new Error('no identity')
  return { dir: device.dir, leaf: identity.leaf }
}

test('P12 everything from the root to the device is ML-DSA: it enrolls, connects, updates and is checked', async () => {
  const given = await givenServer()
  const { site, publicPort } = given
  const { dir, leaf } = await enrolled(given)
  const authorities = await site.operator.fleetseal<AuthorityView[]>('authority', 'list')
  const der = (purpose: string) => {
    const one = authorities.find((authority) => authority.purpose === purpose)
    return fromPem(one?.certificate ?? '', 'CERTIFICATE')[0] ?? Buffer.alloc(0)
  }
  const [rootDer, issuerDer] = [der('root'), der('devices')]
  const issuer = parseCertificate(issuerDer)
  expect([leaf, issuer, parseCertificate(rootDer)].map(({ spki }) => keyFamilyIn(spki))).toEqual([
    'ML-DSA-65',
    'ML-DSA-65',
    'ML-DSA-87',
  ])
  const at = new Date()
  const path = [leaf.der, issuerDer]
  expect(validatePath(path, [rootDer], { at, purpose: 'clientAuth' }).valid).toBe(true)

  // The lists of the whole chain and the answers of OCSP, by the addresses in the certificates.
  for (const [below, above] of [
    [leaf, issuer],
    [issuer, parseCertificate(rootDer)],
  ] as const) {
    const url = below.crlDistributionPoints?.[0]?.uris[0] ?? ''
    expect(verifyCrl(parseCrl(await fetched(url)), above)).toBe(true)
  }
  const { serial } = leaf
  const question = buildOcspRequest([encodeCertId('sha256', issuerHashes(issuer), serial)])
  const answer = await fetched(`http://localhost:${publicPort}/ocsp`, question)
  const asked = { serial, issuer, at: new Date(), maxSkewMs: 60_000 }
  expect(checkOcspResponse(answer, asked)).toEqual({ status: 'good' })

  agent = new DeviceAgent({ dir })
  await agent.start()
  await expect.poll(() => agent?.status()?.connected, { timeout: 60_000 }).toBe(true)
  const release = { version: '2.0.0', build: 101, image: randomBytes(50_000), metadataVersion: 1 }
  await startRollout(site, await publishRelease(site, release))
  await expect.poll(() => agent?.status()?.installed[0]?.version, { timeout: 60_000 }).toBe('2.0.0')
}, 300_000)
