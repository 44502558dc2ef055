import { randomUUID } from 'node:crypto'

import { oids } from '../../pki/der/oids.ts'
import { encodeTime } from '../../pki/der/time.ts'
import { nullValue, oid, sequence } from '../../pki/der/writer.ts'
import { generatePrivateKey, keyIdentifier, spkiOf } from '../../pki/keys.ts'
import { softwareSigner } from '../../pki/signer.ts'
import {
  encodeAuthorityKeyId,
  encodeExtension,
  encodeSubjectAltName,
} from '../../pki/x509/extension-writer.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import type { Held } from './manufacturer.ts'
import { type Authority, daysFrom, rawTbs, signRaw } from './pki-fixture.ts'

const caConstraints = Buffer.from('30030101ff', 'hex')
const usages = { device: '03020780', authority: '03020106', both: '03020186' }

interface Parts {
  purpose?: string
  isCa?: boolean
  usage?: keyof typeof usages
  more?: Buffer[]
}

/**
 * Certificates in the name of a device that the issuer of devices signed (or a device, A10) and that are none of a device,
 * each with its key, beside one that is.
 */
export const lookalikes: Record<string, (issuer: Authority, deviceId: string) => Promise<Held>> = {
  'the honest twin': async (issuer, deviceId) => await held(issuer, deviceId, {}),
  'A8 for servers only': async (issuer, deviceId) =>
    await held(issuer, deviceId, { purpose: oids.serverAuth }),
  'A9 of an authority': async (issuer, deviceId) =>
    await held(issuer, deviceId, { isCa: true, usage: 'authority' }),
  'A9 of an authority that may also sign as a client': async (issuer, deviceId) =>
    await held(issuer, deviceId, { isCa: true, usage: 'both' }),
  'A10 signed by another device': async (issuer, deviceId) => {
    const parent = await held(issuer, randomUUID(), {})
    const signer = softwareSigner(parent.key)
    const by = { signer, certificate: parseCertificate(parent.der) }
    const child = await held(by, deviceId, {})
    return { ...child, chain: [child.der, ...parent.chain] }
  },
  'A14 with a critical extension that nobody knows': async (issuer, deviceId) =>
    await held(issuer, deviceId, { more: [encodeExtension('1.2.3.4', true, nullValue())] }),
  'A14 the honest twin: the same extension, not critical': async (issuer, deviceId) =>
    await held(issuer, deviceId, { more: [encodeExtension('1.2.3.4', false, nullValue())] }),
}

async function held(issuer: Authority, deviceId: string, parts: Parts): Promise<Held> {
  const { purpose = oids.clientAuth, isCa = false, usage = 'device', more = [] } = parts
  const key = generatePrivateKey('P-256')
  const today = new Date(Math.floor(Date.now() / 1000) * 1000)
  const der = await signRaw(
    rawTbs(issuer, {
      spki: spkiOf(key),
      validity: sequence(encodeTime(daysFrom(today, -1)), encodeTime(daysFrom(today, 30))),
      extensions: [
        encodeExtension(
          oids.basicConstraints,
          true,
          isCa ? caConstraints : Buffer.from('3000', 'hex'),
        ),
        encodeExtension(oids.keyUsage, true, Buffer.from(usages[usage], 'hex')),
        encodeExtension(oids.extKeyUsage, false, sequence(oid(purpose))),
        encodeAuthorityKeyId(keyIdOf(issuer)),
        encodeSubjectAltName([{ type: 'uri', value: `urn:uuid:${deviceId}` }], false),
        ...more,
      ],
    }),
    issuer,
  )
  return { key, der, chain: [der, issuer.certificate.der] }
}

function keyIdOf({ certificate, signer }: Authority): Buffer {
  return certificate.subjectKeyId ?? keyIdentifier(signer.spki)
}
