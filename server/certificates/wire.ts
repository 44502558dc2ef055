import { z } from 'zod'

import { certificateStates, revocationReasonNames } from './state.ts'

export const DeviceParams = z.object({ deviceId: z.uuid().lowercase() })
export const CertificateParams = z.object({ certificateId: z.uuid().lowercase() })

export const CertificateActionBody = z.discriminatedUnion('action', [
  z.strictObject({ action: z.literal('revoke'), reason: z.enum(revocationReasonNames) }),
  z.strictObject({ action: z.literal('hold') }),
  z.strictObject({ action: z.literal('release') }),
])

/** PEM: one list, of a root. */
export const RootCrlBody = z.strictObject({ crl: z.string().min(1).max(65_536) })
export const RootCrlView = z.object({
  number: z.number(),
  thisUpdate: z.iso.datetime(),
  nextUpdate: z.iso.datetime(),
  /** Authorities that it says are revoked. */
  revoked: z.array(z.uuid()),
})
export type RootCrlView = z.infer<typeof RootCrlView>

export const CertificateView = z.object({
  id: z.uuid(),
  deviceId: z.uuid().nullable(),
  authorityId: z.uuid(),
  state: z.enum(certificateStates),
  /** Hex. */
  serial: z.string(),
  /** SHA-256 of the certificate, hex. */
  fingerprint: z.string().nullable(),
  subject: z.string(),
  notBefore: z.iso.datetime(),
  notAfter: z.iso.datetime(),
  revokedAt: z.iso.datetime().nullable(),
  revocationReason: z.string().nullable(),
  createdAt: z.iso.datetime(),
})
export type CertificateView = z.infer<typeof CertificateView>
