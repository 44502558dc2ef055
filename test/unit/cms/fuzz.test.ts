import { beforeAll, expect, test } from 'vitest'

import { crlOnly, readCrlOnly } from '../../../pki/cms/crl-only.ts'
import { buildEnvelopedData } from '../../../pki/cms/enveloped-data-build.ts'
import { openEnvelopedData } from '../../../pki/cms/enveloped-data.ts'
import { buildSignedData } from '../../../pki/cms/signed-data-build.ts'
import type { VerifiedData } from '../../../pki/cms/signed-data.ts'
import { verifySignedData } from '../../../pki/cms/signed-data.ts'
import { octetString, printableString, sequence } from '../../../pki/der/writer.ts'
import { PkiError } from '../../../pki/errors.ts'
import {
  csrAttributesFor,
  encodeCsrAttributes,
  readCsrAttributes,
} from '../../../pki/est/csr-attributes.ts'
import { openRsaEnvelope } from '../../../pki/forge.ts'
import { readCertRep, buildCertRep } from '../../../pki/scep/reply.ts'
import { openScepRequest, verifyScepMessage } from '../../../pki/scep/request.ts'
import type { Party } from '../../support/cms-fixture.ts'
import { makeParty } from '../../support/cms-fixture.ts'
import { Dice, mutateBytes, mutateTree } from '../../support/der-mutations.ts'
import { makeRoot } from '../../support/pki-fixture.ts'
import type { ScepWorld } from '../../support/scep-fixture.ts'
import { makeScepWorld, scepAttributes, senderNonce } from '../../support/scep-fixture.ts'

/** Mutations of all kinds together; 200,000 for a night. */
const total = Number(process.env['FLEETSEAL_FUZZ'] ?? 5000)

interface Target {
  readonly seed: Buffer
  /** Reads a mutation, through whatever has to be put around it first. */
  readonly read: (der: Buffer) => unknown
}

const kinds = [
  'signed data',
  'message in a signed wrapper',
  'attribute',
  'RSA envelope',
  'content of an RSA envelope',
  'EC envelope',
  'answer',
  'message with a CRL',
  'csrattrs',
] as const
type Kind = (typeof kinds)[number]
const each = Math.ceil(total / kinds.length)
/** Milliseconds for one mutation, twenty times what it takes. */
const timeoutMs = 60_000 + each * 40

let world: ScepWorld
let party: Party
let signed: Buffer
let targets: Readonly<Record<Kind, Target>>

beforeAll(async () => {
  world = await makeScepWorld()
  party = await makeParty(await makeRoot(), 'P-256')
  signed = await buildSignedData(
    {
      content: Buffer.from('content'),
      signerId: party.id,
      certificates: [party.certificate],
      attributes: [{ type: '1.2.3', values: [printableString('value')] }],
    },
    party.signer,
  )
  const request = await world.ask({ type: 'PKCSReq', csr: world.csr })
  const message = verifyScepMessage(request)
  const recipient = { kind: 'certificate', id: party.id, spki: party.spki } as const
  const opener = { kind: 'private-key', id: party.id, key: party.key } as const
  const expected = {
    ...message,
    senderNonce,
    responderSpki: world.ra.spki,
    decrypter: world.decrypter,
    expects: 'certificates',
  } as const
  const readRequest = async (der: Buffer) =>
    await openScepRequest(verifyScepMessage(der), world.decrypter)
  targets = {
    'signed data': { seed: signed, read: (der) => assertSame(verifySignedData(der)) },
    'message in a signed wrapper': { seed: request, read: readRequest },
    attribute: {
      seed: sequence(printableString('19'), octetString(senderNonce)),
      read: async (der) => {
        const attributes = scepAttributes({ messageType: [der.subarray(2)], senderNonce: [der] })
        return await readRequest(await world.raw({ attributes }))
      },
    },
    'RSA envelope': {
      seed: message.envelope,
      read: async (der) => await openRsaEnvelope(der, world.decrypter),
    },
    'content of an RSA envelope': {
      seed: world.csr,
      read: async (der) => await readRequest(await world.raw({ content: world.envelope(der) })),
    },
    'EC envelope': {
      seed: buildEnvelopedData(Buffer.from('content'), recipient),
      read: (der) => openEnvelopedData(der, opener),
    },
    answer: {
      seed: await buildCertRep(message, { status: 'pending' }, world.ra),
      read: async (der) => await readCertRep(der, expected),
    },
    'message with a CRL': { seed: crlOnly(sequence(sequence())), read: readCrlOnly },
    csrattrs: { seed: encodeCsrAttributes(csrAttributesFor('P-256')), read: readCsrAttributes },
  }
})

/** What verifies is what was signed; a mutation can only have touched what nobody signs. */
function assertSame({ content, attributes }: VerifiedData): void {
  const original = verifySignedData(signed)
  if (!content?.equals(original.content ?? Buffer.alloc(0))) throw new Error('Other content')
  const same = [...original.attributes].every(([type, values]) =>
    values.every((value, index) => attributes.get(type)?.[index]?.equals(value)),
  )
  if (!same || attributes.size !== original.attributes.size) throw new Error('Other attributes')
}

async function accepts({ read }: Target, der: Buffer): Promise<boolean> {
  try {
    await read(der)
    return true
  } catch (error) {
    if (error instanceof PkiError) return false
    throw new Error(`Not a typed error for ${der.toString('hex')}`, { cause: error })
  }
}

function mutant(seed: Buffer, number: number): Buffer {
  const dice = new Dice(number)
  return dice.below(2) === 0 ? mutateBytes(seed, dice) : mutateTree(seed, dice)
}

test.each(kinds.filter((kind) => kind !== 'attribute'))('F4 an honest %s is read', async (kind) => {
  expect(await accepts(targets[kind], targets[kind].seed)).toBe(true)
})

test.each(kinds)(
  'F4 mutations of a %s give a typed error or a result',
  async (kind) => {
    let accepted = 0
    for (let number = 0; number < each; number += 1) {
      if (await accepts(targets[kind], mutant(targets[kind].seed, number))) accepted += 1
    }
    expect(accepted).toBeLessThan(each * 0.9)
  },
  timeoutMs,
)
