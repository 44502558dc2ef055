import { createHash, randomUUID } from 'node:crypto'

import { generatePrivateKey, spkiOf } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { toPem } from '../../pki/pem.ts'
import { softwareSigner } from '../../pki/signer.ts'
import type { Certificate } from '../../pki/x509/parse.ts'
import { deviceIdentity } from '../../pki/x509/profiles.ts'
import type { Context } from '../../server/context.ts'
import {
  type Authority,
  daysFrom,
  deviceInput,
  issue,
  makeIssuer,
  makeRoot,
  serverInput,
} from './pki-fixture.ts'

/** What a device holds: for `tls.connect` and mqtt.js. */
export interface Credentials {
  deviceId: string
  fingerprint: string
  key: string
  /** Leaf and issuer. */
  cert: string
}

export interface DeviceOptions {
  deviceId?: string
  issuer?: Authority
  notBefore?: Date
  notAfter?: Date
  /** A certificate for servers in a device's hands. */
  profile?: 'device' | 'server'
}

const pem = (certificate: Certificate) => toPem('CERTIFICATE', certificate.der)

/** One root with an issuer for devices and one for servers, as the first start makes them; P-256 to be quick. */
export async function createBrokerPki() {
  const root = await makeRoot('P-256')
  const devices = await makeIssuer(root)
  const servers = await makeIssuer(root, { subject: encodeName({ commonName: 'Test Servers' }) })
  const today = new Date()
  const serverIdentity = async (algorithm: 'P-256' | 'ML-DSA-65') => {
    const key = generatePrivateKey(algorithm)
    const certificate = await issue('server', servers, {
      ...serverInput(servers, spkiOf(key)),
      notBefore: daysFrom(today, -1),
      notAfter: daysFrom(today, 30),
    })
    return { key: privatePem(key), cert: pem(certificate) + pem(servers.certificate) }
  }
  const tls = { ...(await serverIdentity('P-256')), postQuantum: await serverIdentity('ML-DSA-65') }
  const listeners: (() => void)[] = []
  const authorities = {
    onRenewal: (listener: () => void) => void listeners.push(listener),
    tls,
    clientCa: [pem(root.certificate), pem(devices.certificate)],
    rootPem: pem(root.certificate),
  } as unknown as Context['authorities']

  const device = async (options: DeviceOptions = {}): Promise<Credentials> => {
    const { deviceId = randomUUID(), issuer = devices, profile = 'device' } = options
    const key = generatePrivateKey('P-256')
    const input = profile === 'device' ? deviceInput : serverInput
    const certificate = await issue(profile, issuer, {
      ...input(issuer, spkiOf(key)),
      ...(profile === 'device' ? { san: [deviceIdentity(deviceId)] } : {}),
      notBefore: options.notBefore ?? daysFrom(today, -1),
      notAfter: options.notAfter ?? daysFrom(today, 30),
    })
    return {
      deviceId,
      fingerprint: createHash('sha256').update(certificate.der).digest('hex'),
      key: privatePem(key),
      cert: pem(certificate) + pem(issuer.certificate),
    }
  }
  /** Tells the listeners what they are told when the server certificate was renewed. */
  const renew = () => listeners.forEach((listener) => listener())
  return {
    renew,
    authorities,
    rootPem: pem(root.certificate),
    devices,
    servers,
    device,
    selfSigned,
  }
}
export type BrokerPki = Awaited<ReturnType<typeof createBrokerPki>>

/** A root of somebody's own, used as a client certificate. */
async function selfSigned(): Promise<Credentials> {
  const key = generatePrivateKey('P-256')
  const authority = await makeRoot('P-256', 'Nobody')
  const certificate = await issue(
    'device',
    { ...authority, signer: softwareSigner(key) },
    {
      ...deviceInput({ ...authority, signer: softwareSigner(key) }, spkiOf(key)),
      notBefore: daysFrom(new Date(), -1),
      notAfter: daysFrom(new Date(), 30),
    },
  )
  return {
    deviceId: randomUUID(),
    fingerprint: createHash('sha256').update(certificate.der).digest('hex'),
    key: privatePem(key),
    cert: pem(certificate),
  }
}

/** A chain that is sound but not ours. */
export async function strangerIssuer(): Promise<Authority> {
  return await makeIssuer(await makeRoot('P-256', 'Stranger'))
}

function privatePem(key: ReturnType<typeof generatePrivateKey>): string {
  return String(key.export({ type: 'pkcs8', format: 'pem' }))
}
