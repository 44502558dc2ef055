import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { buildCrl, signCrl } from '../pki/crl/build.ts'
import { generatePrivateKey, keyIdentifier, spkiOf } from '../pki/keys.ts'
import { encodeName } from '../pki/names.ts'
import { toPem } from '../pki/pem.ts'
import { newSerial } from '../pki/x509/issue.ts'
import type { Certificate } from '../pki/x509/parse.ts'
import { deviceIdentity } from '../pki/x509/profiles.ts'
import {
  type Authority,
  daysFrom,
  deviceInput,
  issue,
  makeIssuer,
  makeRoot,
  serverInput,
} from '../test/support/pki-fixture.ts'
import { freePort } from '../test/support/postgres.ts'
import type { Credential } from './load/orders.ts'

/** A process that is measured. */
export interface PeerServer extends AsyncDisposable {
  pid: number
  port: number
}

/** Certificates like those of our server: a root with P-384, two issuers below it, and leaves of P-256 below those. */
export interface PeerPki extends AsyncDisposable {
  /** With `ca.pem` (root and issuer of devices), `server.pem` (leaf and issuer) and `server.key`. */
  folder: string
  /** What devices trust, PEM. */
  ca: string
  devices: Authority
  credentials: readonly Credential[]
}

const pem = (certificate: Certificate) => toPem('CERTIFICATE', certificate.der)

/** With so many devices; `keys` of them have a certificate of their own, the others share those. */
export async function createPeerPki(
  count: number,
  {
    keys = Math.min(count, 24),
    rootKey = 'P-384',
  }: { keys?: number; rootKey?: 'P-256' | 'P-384' } = {},
): Promise<PeerPki> {
  const folder = await mkdtemp(join(tmpdir(), 'fleetseal-bench-'))
  const today = new Date()
  const valid = { notBefore: daysFrom(today, -1), notAfter: daysFrom(today, 30) }
  const root = await makeRoot(rootKey)
  const devices = await makeIssuer(root)
  const servers = await makeIssuer(root, { subject: encodeName({ commonName: 'Test Servers' }) })
  const key = generatePrivateKey('P-256')
  const server = await issue('server', servers, { ...serverInput(servers, spkiOf(key)), ...valid })
  await writeFile(join(folder, 'ca.pem'), pem(root.certificate) + pem(devices.certificate))
  await writeFile(join(folder, 'server.pem'), pem(server) + pem(servers.certificate))
  await writeFile(join(folder, 'server.key'), privatePem(key))
  const made: { key: string; cert: string }[] = []
  for (let n = 0; n < keys; n++) {
    const own = generatePrivateKey('P-256')
    const input = { ...deviceInput(devices, spkiOf(own)), ...valid }
    const leaf = await issue('device', devices, { ...input, san: [deviceIdentity(idOf(n))] })
    made.push({ key: privatePem(own), cert: pem(leaf) + pem(devices.certificate) })
  }
  const credentials = Array.from({ length: count }, (_, n) => {
    const { key: own = '', cert = '' } = made[n % keys] ?? {}
    return { deviceId: idOf(n), key: own, cert }
  })
  return {
    folder,
    ca: pem(root.certificate),
    devices,
    credentials,
    [Symbol.asyncDispose]: async () => await rm(folder, { recursive: true, force: true }),
  }
}

/** Writes `crl.pem`: a list of so many revoked certificates, none of which anybody here has. */
export async function writeCrl({ folder, devices }: PeerPki, entries: number): Promise<void> {
  const { certificate, signer } = devices
  const now = new Date(Math.floor(Date.now() / 1_000) * 1_000)
  const der = await signCrl(
    buildCrl({
      issuerName: certificate.subject,
      issuerKeyId: certificate.subjectKeyId ?? keyIdentifier(signer.spki),
      signatureAlgorithm: signer.algorithm,
      number: 1n,
      thisUpdate: daysFrom(now, -1),
      nextUpdate: daysFrom(now, 30),
      revoked: Array.from({ length: entries }, () => ({
        serial: newSerial(),
        revokedAt: now,
        reason: 1,
      })),
    }),
    signer,
  )
  await writeFile(join(folder, 'crl.pem'), toPem('X509 CRL', der))
}

/** The floor: TLS with client certificates, and a CONNACK for whatever is sent first. */
export async function startBareTls({ folder }: PeerPki, ...nodeOptions: string[]) {
  return await startScript('tls-server.ts', [folder], nodeOptions)
}

/** A script of this folder that prints `port N`. */
export async function startScript(
  name: string,
  args: readonly string[],
  nodeOptions: readonly string[] = [],
): Promise<PeerServer> {
  const script = fileURLToPath(new URL(name, import.meta.url))
  const child = spawn(process.execPath, [...nodeOptions, script, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  return peerOf(child, Number(/port (\d+)/.exec(line.toString())?.[1]))
}

/** mosquitto with TLS, client certificates and no storage; more lines of its configuration as they are. */
export async function startMosquitto(
  program: string,
  { folder }: PeerPki,
  ...more: string[]
): Promise<PeerServer> {
  const port = await freePort()
  const file = join(folder, `mosquitto-${port}.conf`)
  const lines = [
    `listener ${port} 127.0.0.1`,
    `cafile ${folder}/ca.pem`,
    `certfile ${folder}/server.pem`,
    `keyfile ${folder}/server.key`,
    'require_certificate true',
    'use_identity_as_username true',
    'persistence false',
    'log_dest none',
    'set_tcp_nodelay true',
    'max_queued_messages 0',
    'max_inflight_messages 0',
    'user root',
    ...more,
  ]
  await writeFile(file, `${lines.join('\n')}\n`)
  const child = spawn(program, ['-c', file], { stdio: 'ignore' })
  await listening(child, port)
  return peerOf(child, port)
}

/** Until somebody listens there. Throws when the process ends before, or does not come in ten seconds. */
export async function listening(child: ChildProcess, port: number): Promise<void> {
  for (let attempt = 0; attempt < 200 && child.exitCode === null; attempt++) {
    const socket = connect(port, '127.0.0.1')
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true))
      socket.once('error', () => resolve(false))
    })
    socket.destroy()
    if (isOpen) return
    await sleep(50)
  }
  child.kill('SIGKILL')
  throw new Error(`${child.spawnfile} does not listen on ${port}; it ended with ${child.exitCode}`)
}

export function peerOf(child: ChildProcess, port: number): PeerServer {
  return {
    pid: child.pid ?? 0,
    port,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const exit = once(child, 'exit')
      child.kill()
      const late = setTimeout(() => child.kill('SIGKILL'), 10_000)
      await exit
      clearTimeout(late)
    },
  }
}

function privatePem(key: ReturnType<typeof generatePrivateKey>): string {
  return String(key.export({ type: 'pkcs8', format: 'pem' }))
}

function idOf(number: number): string {
  return `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`
}
