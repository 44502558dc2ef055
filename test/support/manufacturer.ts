import type { KeyObject } from 'node:crypto'

import { generatePrivateKey, spkiOf } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { toPem } from '../../pki/pem.ts'
import { softwareSigner } from '../../pki/signer.ts'
import { hardwareModuleName } from '../../pki/x509/module-names.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { claimIdentity, noExpiry, type TbsInput } from '../../pki/x509/profiles.ts'
import { newId } from '../../server/ids.ts'
import {
  type Authority,
  deviceInput,
  issue,
  issuedBy,
  makeIssuer,
  makeRoot,
} from './pki-fixture.ts'

/** A certificate with its key, and with what a peer needs to build the path. */
export interface Held {
  key: KeyObject
  der: Buffer
  chain: Buffer[]
}

export interface Manufacturer {
  root: Authority
  issuer: Authority
  /** PEM of the issuing authority, of the root. */
  pem: { root: string; issuer: string }
  /** The certificate a device leaves the factory with. */
  idevid: (serialNumber: string, overrides?: Partial<TbsInput>) => Promise<Held>
  /** One for a production run. */
  claim: (overrides?: Partial<TbsInput>) => Promise<Held>
}

const day = 86_400_000
/** X.509 times have no fractions. */
const seconds = (ms: number) => new Date(Math.floor(ms / 1000) * 1000)

/** Somebody else's authorities: a root and an issuer below it. */
export async function createManufacturer(
  name = 'Maker',
  overrides: Partial<TbsInput> = {},
): Promise<Manufacturer> {
  const root = await makeRoot('P-256', `${name} Root`)
  const subject = encodeName({ organization: name, commonName: `${name} Devices` })
  const issuer = await makeIssuer(root, { subject, ...overrides })
  const held = async (profile: 'idevid' | 'claim', input: Partial<TbsInput>): Promise<Held> => {
    const key = generatePrivateKey('P-256')
    const base = { ...deviceInput(issuer, spkiOf(key)), ...issuedBy(issuer) }
    const notBefore = seconds(Date.now() - day)
    const { der } = await issue(profile, issuer, { ...base, notBefore, ...input })
    return { key, der, chain: [der, issuer.certificate.der] }
  }
  return {
    root,
    issuer,
    pem: {
      root: toPem('CERTIFICATE', root.certificate.der),
      issuer: toPem('CERTIFICATE', issuer.certificate.der),
    },
    idevid: async (serialNumber, input = {}) =>
      await held('idevid', {
        subject: encodeName({ organization: name, serialNumber }),
        san: [hardwareModuleName({ type: '1.3.6.1.4.1.55555.1', serial: Buffer.from('HW-1') })],
        notAfter: noExpiry,
        ...input,
      }),
    claim: async (input = {}) =>
      await held('claim', {
        subject: encodeName({ commonName: 'Production run' }),
        san: [claimIdentity(newId(new Date()))],
        notAfter: seconds(Date.now() + 20 * day),
        ...input,
      }),
  }
}

/** For node:tls. */
export function heldPem({ key, chain }: Held): { key: string; cert: string } {
  return {
    key: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
    cert: chain.map((der) => toPem('CERTIFICATE', der)).join(''),
  }
}

/** A leaf that another leaf signed, which is nobody's to do. */
export async function issuedByLeaf(leaf: Held, serialNumber: string): Promise<Held> {
  const signer = softwareSigner(leaf.key)

  const certificate = parseCertificate(leaf.der)
  const key = generatePrivateKey('P-256')
  const input = {
    ...deviceInput({ certificate, signer }, spkiOf(key)),
    subject: encodeName({ serialNumber }),
    san: [hardwareModuleName({ type: '1.3.6.1.4.1.55555.1', serial: Buffer.from('HW-1') })],
    notBefore: seconds(Date.now() - day),
    notAfter: noExpiry,
  }
  const { der } = await issue('idevid', { certificate, signer }, input)
  return { key, der, chain: [der, ...leaf.chain] }
}
