import { z } from 'zod'

const name = z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/)
/** Enters signed metadata, so it keeps to its string rule and more (updates.md 2.1). */
const hardwareId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/)

export const ModelParams = z.object({ model: z.string().min(1).max(64) })

export const NewModelBody = z.strictObject({
  name,
  hardwareIds: z
    .array(hardwareId)
    .min(1)
    .max(64)
    .refine((ids) => new Set(ids).size === ids.length, 'each hardware id once'),
})

export const ModelView = z.object({
  id: z.uuid(),
  name: z.string(),
  hardwareIds: z.array(z.string()),
  createdAt: z.iso.datetime(),
})
export type ModelView = z.infer<typeof ModelView>
