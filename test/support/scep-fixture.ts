import { buildEnvelopedData } from '../../pki/cms/enveloped-data-build.ts'
import type { CmsAttribute } from '../../pki/cms/signed-data-build.ts'
import { buildSignedData } from '../../pki/cms/signed-data-build.ts'
import { buildCsr } from '../../pki/csr/build.ts'
import { octetString, printableString } from '../../pki/der/writer.ts'
import type { RsaDecrypter } from '../../pki/forge.ts'
import { softwareDecrypter } from '../../pki/forge.ts'
import { encodeName } from '../../pki/names.ts'
import type { ScepQuestion } from '../../pki/scep/request-build.ts'
import { buildScepRequest } from '../../pki/scep/request-build.ts'
import type { Party } from './cms-fixture.ts'
import { makeParty } from './cms-fixture.ts'
import { makeRoot } from './pki-fixture.ts'

export const scepTypes = {
  messageType: '2.16.840.1.113733.1.9.2',
  status: '2.16.840.1.113733.1.9.3',
  failInfo: '2.16.840.1.113733.1.9.4',
  senderNonce: '2.16.840.1.113733.1.9.5',
  recipientNonce: '2.16.840.1.113733.1.9.6',
  transactionId: '2.16.840.1.113733.1.9.7',
}

export interface RawScep {
  readonly attributes?: CmsAttribute[]
  readonly content?: Buffer
  readonly sender?: Party
}

export interface ScepWorld {
  readonly ra: Party
  readonly device: Party
  readonly decrypter: RsaDecrypter
  readonly csr: Buffer
  ask(question: ScepQuestion, sender?: Party): Promise<Buffer>
  /** A signed message with whatever attributes and content a test wants. */
  raw(parts: RawScep): Promise<Buffer>
  envelope(content: Buffer): Buffer
}

export const senderNonce = Buffer.alloc(16, 0x11)
export const transactionId = 'a1b2c3'

/** The attributes of a good request, but for those that are replaced; null leaves one out. */
export function scepAttributes(
  replaced: Partial<Record<keyof typeof scepTypes, Buffer[] | null>> = {},
): CmsAttribute[] {
  const good: Partial<Record<keyof typeof scepTypes, Buffer[] | null>> = {
    messageType: [printableString('19')],
    transactionId: [printableString(transactionId)],
    senderNonce: [octetString(senderNonce)],
    ...replaced,
  }
  return Object.entries(scepTypes).flatMap(([name, type]) => {
    const values = good[name as keyof typeof scepTypes]
    return values ? [{ type, values }] : []
  })
}

/** A registration authority and a device, both with RSA keys, below an EC root. */
export async function makeScepWorld(): Promise<ScepWorld> {
  const root = await makeRoot()
  const ra = await makeParty(root, 'RSA-2048')
  const device = await makeParty(root, 'RSA-2048')
  const csr = buildCsr(device.key, { subject: encodeName({ commonName: 'Pump 7' }) })
  const recipient = { kind: 'certificate', id: ra.id, spki: ra.spki } as const
  const envelope = (content: Buffer) =>
    buildEnvelopedData(content, recipient, { cipher: 'aes-128-cbc' })
  return {
    ra,
    device,
    csr,
    envelope,
    decrypter: softwareDecrypter(ra.key, ra.id),
    async ask(question, { certificate, signer } = device) {
      const sender = { certificate, signer, transactionId, senderNonce, ra: ra.certificate }
      return await buildScepRequest(question, sender)
    },
    async raw({ attributes = scepAttributes(), content = envelope(csr), sender = device }) {
      const { certificate, id, signer } = sender
      return await buildSignedData(
        { content, attributes, signerId: id, certificates: [certificate] },
        signer,
      )
    },
  }
}
