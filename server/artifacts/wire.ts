import { z } from 'zod'

export const ArtifactParams = z.object({ artifactId: z.uuid().lowercase() })

export const NewArtifactQuery = z.strictObject({
  /** For people: usually the file's name. */
  name: z
    .string()
    .trim()
    .min(1)
    .max(200)
    .regex(/^[^\p{Cc}\p{Cs}]*$/u, 'no control characters'),
})

export const ArtifactView = z.object({
  id: z.uuid(),
  sha256: z.string(),
  /** Bytes. */
  size: z.number(),
  name: z.string(),
  createdBy: z.string(),
  createdAt: z.iso.datetime(),
})
export type ArtifactView = z.infer<typeof ArtifactView>
