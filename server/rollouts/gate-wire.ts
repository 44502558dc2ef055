import { z } from 'zod'

import { secondsOf } from '../protocol/duration.ts'

const longestS = 366 * 86_400

/** ISO 8601, from a second to a year: `PT1H`, `P7D`. */
export const Span = z
  .string()
  .max(32)
  .refine((text) => {
    const seconds = secondsOf(text) ?? 0
    return seconds > 0 && seconds <= longestS
  }, 'a duration such as PT30M, PT24H or P7D, of a year at most')

/** What a gate asks for beside the share and the number of devices. */
export const GateView = {
  /** So long it stays met before the next phase opens. */
  soak: z.string().nullable(),
  /** In percent of the devices met: owners who put it off or want none of it. */
  maxPutOff: z.number().nullable(),
  /** With too few devices executed after so long it is a person's turn. */
  within: z.string().nullable(),
}

export const waitsForWords = [
  'executed',
  'contacts',
  'share',
  'choices',
  'soak',
  'hold',
  'nothing',
  'devices',
] as const
