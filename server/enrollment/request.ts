import { createHash } from 'node:crypto'

import { type Csr, parseCsr } from '../../pki/csr/parse.ts'
import { oids } from '../../pki/der/oids.ts'
import { PkiError } from '../../pki/errors.ts'
import { encodeName, readName } from '../../pki/names.ts'
import { type GeneralName } from '../../pki/x509/general-names.ts'
import { DomainError } from '../errors.ts'

/**
 * Reads a certificate request strictly, proof of possession included.
 *
 * @throws DomainError `invalid-request`
 */
export function readRequest(der: Buffer): Csr {
  let csr: Csr
  try {
    csr = parseCsr(der)
  } catch (error) {
    if (!(error instanceof PkiError)) throw error
    throw refusedRequest(error)
  }
  if (csr.asksForCa) {
    throw new DomainError('invalid-request', 'A device cannot be a certificate authority')
  }
  return csr
}

export function refusedRequest({ message, code, offset }: PkiError): DomainError {
  const facts = { code, ...(offset === undefined ? {} : { offset }) }
  return new DomainError('invalid-request', `The certificate request is refused: ${message}`, facts)
}

/** @throws DomainError `not-allowed` for a key algorithm that the profile does not list */
export function assertKeyPolicy({ publicKey }: Csr, policy: readonly string[]): void {
  if (!policy.includes(publicKey.algorithm)) {
    throw new DomainError(
      'not-allowed',
      `A key of the kind ${publicKey.algorithm} is not allowed here: use ${policy.join(', ')}`,
    )
  }
}

export interface RequestedNames {
  /** The identity: serialNumber of the subject, else its common name. Visible ASCII, 1 to 64 characters. */
  serialNumber: string
  commonName: string | undefined
}

/**
 * What the device calls itself. Only a hint that finds a record or has to match it: nothing of it is copied into a
 * certificate. Other attributes of the subject are ignored.
 *
 * @throws DomainError `invalid-request`
 */
export function namesOf({ subject }: Csr): RequestedNames {
  const attributes = readName(subject)
  const single = (oid: string, what: string) => {
    const values = attributes.filter((attribute) => attribute.oid === oid)
    if (values.length > 1) {
      throw new DomainError('invalid-request', `The subject has more than one ${what}`)
    }
    return values[0]?.value
  }
  const commonName = single(oids.commonName, 'common name')
  const serialNumber = single(oids.serialNumber, 'serialNumber') ?? commonName
  if (serialNumber === undefined) {
    throw new DomainError(
      'invalid-request',
      'The subject names no device: put its serial number into serialNumber or the common name',
    )
  }
  if (!/^[\x21-\x7e]{1,64}$/.test(serialNumber)) {
    throw new DomainError(
      'invalid-request',
      'The serial number in the subject must be 1 to 64 visible ASCII characters',
    )
  }
  return { serialNumber, commonName }
}

/** @throws DomainError `not-allowed` when a name asked for is not that of the record */
export function assertNamesMatch(
  csr: Csr,
  names: RequestedNames,
  device: { id: string; name: string; serial_number: string },
): void {
  const { commonName } = names
  if (
    commonName !== undefined &&
    commonName !== device.serial_number &&
    commonName !== device.name
  ) {
    throw new DomainError(
      'not-allowed',
      "The common name is neither the device's name nor its serial number",
    )
  }
  for (const name of csr.subjectAltName ?? []) {
    if (name.type !== 'uri' || name.value !== `urn:uuid:${device.id}`) {
      throw new DomainError(
        'not-allowed',
        'A subjectAltName that is not the identity of this device',
      )
    }
  }
}

/** The subject we write, from the record: the name where it fits into a certificate, and the serial number. */
export function subjectFor(device: { name: string; serial_number: string }): Buffer {
  const { name, serial_number: serialNumber } = device
  const names = [name, serialNumber]
  for (const commonName of names) {
    for (const fields of [{ commonName, serialNumber }, { commonName }]) {
      try {
        return encodeName(fields)
      } catch (error) {
        // A long name, or a serial number with characters that a PrintableString cannot hold.
        if (!(error instanceof PkiError)) throw error
      }
    }
  }
  throw new DomainError('invalid-request', 'The names of this device do not fit into a certificate')
}

/**
 * What makes two requests the same (pki.md section 5): operation, profile, principal and the bytes of the request.
 *
 * @param principal `token:<id>`, or `certificate:<fingerprint>`
 */
export function requestKeyOf(
  operation: 'simpleenroll' | 'simplereenroll',
  profileId: string,
  principal: string,
  csr: Csr,
): Buffer {
  return createHash('sha256')
    .update(`${operation}\n${profileId}\n${principal}\n`)
    .update(csr.der)
    .digest()
}

/** RFC 7030 §4.2.2: subject and subjectAltName as in the certificate, compared as bytes. */
export function assertSameNames(
  csr: Csr,
  current: { subject: Buffer; subjectAltName: readonly GeneralName[] | undefined },
): void {
  if (!csr.subject.equals(current.subject)) {
    throw new DomainError(
      'invalid-request',
      'The subject must be that of the current certificate, byte for byte',
    )
  }
  const uris = (names: readonly GeneralName[] | undefined) =>
    names?.map((name) => (name.type === 'uri' ? `uri:${name.value}` : name.type)).join('\n')
  if (uris(csr.subjectAltName) !== uris(current.subjectAltName)) {
    throw new DomainError(
      'invalid-request',
      'The subjectAltName must be that of the current certificate',
    )
  }
}
