import { checkDer } from '../der/check.ts'
import { oids } from '../der/oids.ts'
import { DerReader } from '../der/reader.ts'
import { tags } from '../der/tags.ts'
import { octetString, oid, sequence } from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import type { GeneralName } from './general-names.ts'

export interface HardwareModule {
  /** Type of the hardware, dotted text below the manufacturer's arc. */
  readonly type: string
  /** 1 to 64 octets, unique among modules of the type. */
  readonly serial: Buffer
}

const maxSerialOctets = 64

/**
 * The name of a device in its IDevID (IEEE 802.1AR; RFC 4108 §5): otherName with
 * HardwareModuleName ::= SEQUENCE { hwType OBJECT IDENTIFIER, hwSerialNum OCTET STRING }.
 *
 * @throws PkiError `profile` for a serial that is empty or too long, `der` for a type that is no object identifier
 */
export function hardwareModuleName({ type, serial }: HardwareModule): GeneralName {
  if (serial.length === 0 || serial.length > maxSerialOctets) {
    throw new PkiError('profile', `A module serial has 1 to ${maxSerialOctets} octets`)
  }
  const value = sequence(oid(type), octetString(serial))
  return { type: 'other', oid: oids.hardwareModuleName, value }
}

/** The hardware module in a general name; undefined when it names something else. Throws PkiError `der`. */
export function readHardwareModule(name: GeneralName): HardwareModule | undefined {
  if (name.type !== 'other' || name.oid !== oids.hardwareModuleName) return undefined
  checkDer(name.value)
  const reader = new DerReader(name.value)
  const body = reader.enter(tags.sequence)
  reader.finish()
  const type = body.oid()
  const { offset } = body
  const serial = body.content(tags.octetString)
  body.finish()
  if (serial.length === 0 || serial.length > maxSerialOctets) {
    throw new PkiError('der', 'A module serial is empty or too long', offset)
  }
  return { type, serial }
}
