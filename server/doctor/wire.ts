import { z } from 'zod'

export const findingLevels = ['ok', 'warning', 'error'] as const

export const FindingView = z.object({
  /** What was looked at, e.g. `disk`. */
  check: z.string(),
  level: z.enum(findingLevels),
  /** What was found, in words. */
  what: z.string(),
  /** What mends it; null when nothing has to be. */
  fix: z.string().nullable(),
})
export type FindingView = z.infer<typeof FindingView>

export const DoctorView = z.object({
  at: z.iso.datetime(),
  findings: z.array(FindingView),
  /** Where the listeners are, so that whoever asks can see whether they are reached from there. */
  listeners: z.object({
    host: z.string(),
    device: z.number().int(),
    mqtt: z.number().int(),
    public: z.number().int(),
  }),
})
export type DoctorView = z.infer<typeof DoctorView>
