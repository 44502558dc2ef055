import { oids } from '../der/oids.ts'
import { encodeTime } from '../der/time.ts'
import { contextConstructed, integer, sequence } from '../der/writer.ts'
import { keyIdentifier } from '../keys.ts'
import { encodeName } from '../names.ts'
import type { Signer } from '../signer.ts'
import { encodeExtension, encodeSubjectKeyId } from '../x509/extension-writer.ts'
import { newSerial, signCertificate } from '../x509/issue.ts'
import { extKeyUsageValue, noExpiry } from '../x509/profiles.ts'

/** A device whose clock was never set verifies too. */
const always = new Date('2000-01-01T00:00:00Z')
const isNoAuthority = Buffer.from('3000', 'hex')
const digitalSignature = Buffer.from('03020780', 'hex')

/**
 * The certificate by which devices know who signs their images: SWUpdate's `-k`, RAUC's keyring. It certifies itself, as a raw key in
 * X.509's clothes; how long it counts is for whoever installs it on devices to say, and not for their clocks. Its purposes are those that
 * both clients ask for (OpenSSL's `smimesign`).
 *
 * @param name common name
 * @returns DER
 */
export async function buildImageSignerCertificate(name: string, signer: Signer): Promise<Buffer> {
  const subject = encodeName({ commonName: name })
  const purposes = extKeyUsageValue([oids.emailProtection, oids.codeSigning])
  const tbs = sequence(
    contextConstructed(0, integer(2)),
    integer(newSerial()),
    signer.algorithm,
    subject,
    sequence(encodeTime(always), encodeTime(noExpiry)),
    subject,
    signer.spki,
    contextConstructed(
      3,
      sequence(
        encodeExtension(oids.basicConstraints, true, isNoAuthority),
        encodeExtension(oids.keyUsage, true, digitalSignature),
        encodeExtension(oids.extKeyUsage, false, purposes),
        encodeSubjectKeyId(keyIdentifier(signer.spki)),
      ),
    ),
  )
  return await signCertificate(tbs, signer)
}
