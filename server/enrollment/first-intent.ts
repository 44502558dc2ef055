import { deviceIdentity } from '../../pki/x509/profiles.ts'
import { type CertificateRow, newIntent } from '../certificates/intent.ts'
import { newId } from '../ids.ts'
import { type EnrollRequest, isEnciphering } from './enroll-rules.ts'
import type { IssueDeps } from './issue.ts'
import { subjectFor } from './request.ts'

/**
 * What an enrollment asks to be signed: names from the record of the device, the key from the request, everything else from
 * the profile.
 *
 * @throws DomainError `invalid-request` when no certificate can be made of it
 */
export function firstIntent(
  { authorities }: Pick<IssueDeps, 'authorities'>,
  { profile, csr, token, requestKey }: EnrollRequest,
  {
    device,
    replacesId,
    now,
  }: {
    device: { id: string; name: string; serial_number: string }
    replacesId?: string | undefined
    now: Date
  },
): CertificateRow {
  return newIntent({
    id: newId(now),
    issuer: authorities.deviceIssuer(profile.issuer_series),
    urls: authorities.urls,
    profile: 'device',
    deviceId: device.id,
    ...(replacesId === undefined ? {} : { replacesId }),
    enrollmentTokenId: token.id,
    requestKey,
    subject: subjectFor(device),
    spki: csr.spki,
    san: [deviceIdentity(device.id)],
    keyEncipherment: isEnciphering({ token, csr }),
    days: profile.certificate_days,
    now,
  })
}
