import { buildSignedCsr } from '../csr/build.ts'
import type { Csr } from '../csr/parse.ts'
import { parseCsr } from '../csr/parse.ts'
import { oids } from '../der/oids.ts'
import { PkiError } from '../errors.ts'
import { fromPem, toPem } from '../pem.ts'
import type { Signer } from '../signer.ts'
import {
  encodeAuthorityInfoAccess,
  encodeCrlDistributionPoint,
  encodeExtension,
  encodeNameConstraints,
} from '../x509/extension-writer.ts'
import {
  readAuthorityInfoAccess,
  readDistributionPoints,
  readExtension,
  readNameConstraints,
} from '../x509/extensions.ts'
import { profiles } from '../x509/profiles.ts'

/** What an issuing CA asks the root for. Validity is the root's to give. */
export interface CaRequestInput {
  /** Name, DER. */
  readonly subject: Buffer
  /** Directory names, DER, that the CA is to be held to. */
  readonly permittedNames?: readonly Buffer[] | undefined
  /** Where the root's CRL and the root's certificate will be. */
  readonly crlUrl?: string | undefined
  readonly aiaUrl?: string | undefined
}

/** A request whose signature was verified. */
export interface CaRequest extends CaRequestInput {
  readonly csr: Csr
}

const label = 'CERTIFICATE REQUEST'

/**
 * The request file that an online system hands to the root's machine: PEM of a PKCS #10 request, signed by the key of
 * the CA to be. What the CA asks for stands in it as extensions, so that one signature covers all of it.
 */
export async function writeCaRequest(signer: Signer, input: CaRequestInput): Promise<string> {
  const { basicConstraints, keyUsage } = profiles.issuing
  const extensions = [
    encodeExtension(oids.basicConstraints, true, Buffer.from(basicConstraints, 'hex')),
    encodeExtension(oids.keyUsage, true, Buffer.from(keyUsage, 'hex')),
  ]
  if (input.permittedNames) extensions.push(encodeNameConstraints(input.permittedNames))
  if (input.crlUrl !== undefined) extensions.push(encodeCrlDistributionPoint(input.crlUrl))
  if (input.aiaUrl !== undefined) extensions.push(encodeAuthorityInfoAccess(input.aiaUrl))
  return toPem(label, await buildSignedCsr(signer, input.subject, extensions))
}

const known: ReadonlySet<string> = new Set([
  oids.basicConstraints,
  oids.keyUsage,
  oids.nameConstraints,
  oids.cRLDistributionPoints,
  oids.authorityInfoAccess,
])

/**
 * Reads a request file on the root's machine. It must ask for an issuing CA exactly as the profile has it and for nothing
 * that would not be granted, so that what is signed is what was asked for.
 *
 * @throws PkiError `pem`, `der`, `key` or `csr`
 */
export function readCaRequest(text: string): CaRequest {
  const [der, ...more] = fromPem(text, label)
  if (!der || more.length > 0) throw new PkiError('pem', 'A request file has one request')
  const csr = parseCsr(der)
  const { requestedExtensions: asked } = csr
  for (const { oid } of asked.values()) {
    if (!known.has(oid)) throw new PkiError('csr', `Extension ${oid} is not granted to a CA`)
  }
  const hexOf = (oid: string) => asked.get(oid)?.value.toString('hex')
  const { basicConstraints, keyUsage } = profiles.issuing
  if (hexOf(oids.basicConstraints) !== basicConstraints || hexOf(oids.keyUsage) !== keyUsage) {
    throw new PkiError('csr', 'The request is not for an issuing CA')
  }
  return { csr, subject: csr.subject, ...wishes(csr) }
}

function wishes({ requestedExtensions: asked }: Csr) {
  const constraints = readExtension(asked, oids.nameConstraints, readNameConstraints)
  const points = readExtension(asked, oids.cRLDistributionPoints, readDistributionPoints)
  const access = readExtension(asked, oids.authorityInfoAccess, readAuthorityInfoAccess)
  const permittedNames = constraints?.permitted.map((name) => {
    if (name.type !== 'directory') throw new PkiError('csr', 'Only directory names are constrained')
    return name.value
  })
  if (constraints && constraints.excluded.length > 0) {
    throw new PkiError('csr', 'Only permitted names are granted')
  }
  const locations = access?.map(({ method, location }) => {
    if (method !== oids.caIssuers || location.type !== 'uri') {
      throw new PkiError('csr', 'Only the address of the root certificate is granted')
    }
    return location.value
  })
  const [crlUrl, ...moreCrls] = points?.flatMap(({ uris }) => uris) ?? []
  const [aiaUrl, ...moreAccess] = locations ?? []
  if (moreCrls.length > 0 || moreAccess.length > 0) {
    throw new PkiError('csr', 'One address of each kind is granted')
  }
  return { permittedNames, crlUrl, aiaUrl }
}
