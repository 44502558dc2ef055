import { z } from 'zod'

/** What the certificates of the group are to become. */
export const CertificateBody = z
  .strictObject({
    /** An authority for devices: those with a certificate of another one renew. */
    issuerId: z.uuid().toLowerCase().optional(),
    /** Certificates made before this are renewed. */
    issuedBefore: z.iso.datetime({ offset: true }).optional(),
  })
  .refine(
    ({ issuerId, issuedBefore }) => issuerId !== undefined || issuedBefore !== undefined,
    'name an issuer, an instant, or both',
  )
export type CertificateBody = z.infer<typeof CertificateBody>

export const CertificateTargetView = z.object({
  issuerId: z.string().nullable(),
  issuedBefore: z.iso.datetime().nullable(),
})
