import { z } from 'zod'

/** `?limit=&cursor=` of every list. The cursor is the id of the last item seen, opaque to callers. */
export const PageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/)
    .transform((text, context) => {
      const id = Buffer.from(text, 'base64url').toString('latin1')
      if (/^[0-9a-f-]{36}$|^\d{1,18}$/.test(id)) return id
      context.addIssue('not a cursor of this list')
      return z.NEVER
    })
    .optional(),
})
export type PageQuery = z.infer<typeof PageQuery>

export function Page<T extends z.ZodType>(item: T) {
  return z.object({ items: z.array(item), nextCursor: z.string().nullable() })
}

/** Give it `limit + 1` rows: the one too many says that there is a next page. */
export function pageOf<R, V>(
  rows: readonly R[],
  limit: number,
  view: (row: R) => V,
  idOf: (row: R) => string,
): { items: V[]; nextCursor: string | null } {
  const shown = rows.slice(0, limit)
  const last = shown.at(-1)
  const more = rows.length > limit && last !== undefined
  return {
    items: shown.map(view),
    nextCursor: more ? Buffer.from(idOf(last), 'latin1').toString('base64url') : null,
  }
}
