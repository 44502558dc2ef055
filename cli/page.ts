import { z } from 'zod'

import type { Listing } from './api.ts'

/** One page of a list, as every list of the interface answers it. */
export function Page<T>(item: z.ZodType<T>): z.ZodType<Listing<T>> {
  return z.object({ items: z.array(item), nextCursor: z.string().nullable() })
}
