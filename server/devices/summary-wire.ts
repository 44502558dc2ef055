import { z } from 'zod'

import { deviceStates } from './state.ts'

const counts = Object.fromEntries(deviceStates.map((state) => [state, z.number().int()])) as Record<
  (typeof deviceStates)[number],
  z.ZodInt
>

/** How many devices there are, of those that the caller may see. */
export const SummaryView = z.object({
  total: z.number().int(),
  /** Those that are connected to the broker now. */
  connected: z.number().int(),
  byState: z.object(counts),
})
export type SummaryView = z.infer<typeof SummaryView>
