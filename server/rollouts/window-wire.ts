import { z } from 'zod'

/** One day, or the first and the last of several: `2026-12-24`, `2026-12-24/2027-01-02`. */
const blackout = z
  .string()
  .regex(
    /^\d{4}-\d{2}-\d{2}(\/\d{4}-\d{2}-\d{2})?$/,
    'must be a date like 2026-12-24, or two as 2026-12-24/2027-01-02',
  )
export const Blackouts = z.array(blackout).max(366)
/** As they are stored. */
export const StoredDates = z.array(z.string()).catch([])
export type Blackout = z.infer<typeof blackout>

const zone = z.string().min(1).max(64)
const date = z.string().regex(/^\d{4}-\d{2}-\d{2}$/, 'must be a date like 2026-12-24')
const weekday = z.enum(['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'])

/**
 * When updates may begin (rollouts.md §8). Starts come from a cron line or from days of the week, by the clock of `zone`, which is one
 * of the IANA list. What zone, line and dates mean is checked by the service.
 */
export const WindowRule = z.strictObject({
  /** Minute, hour, day of the month, month, day of the week. */
  cron: z.string().min(9).max(100).optional(),
  weekly: z
    .strictObject({
      days: z.array(weekday).min(1).max(7),
      at: z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'must be a time like 01:30'),
    })
    .optional(),
  /** `PT4H`, `PT90M`, `P1D`: from five minutes to seven days. */
  duration: z.string().max(16),
  zone,
  /** Closed on these days, by the calendar of `zone`. */
  blackout: Blackouts.default([]),
  /** The last day on which it opens. */
  until: date.optional(),
  /** At closing, take back what is still being downloaded. */
  hardClose: z.boolean().default(false),
})
export type WindowRule = z.infer<typeof WindowRule>

/** A security release that does not wait: for no window of a group or a device, and for no blackout day when that is said too. */
export const IgnoreWindows = z.strictObject({
  reason: z
    .string()
    .trim()
    .min(1)
    .max(500)
    .regex(/^[^\p{Cc}\p{Cs}]+$/u, 'must not hold control characters'),
  blackouts: z.boolean().default(false),
})
export type IgnoreWindows = z.infer<typeof IgnoreWindows>

/** An instant, and what the clock shows then where the window is: `2026-12-01 01:00 Europe/Berlin`. */
const moment = z.object({ at: z.iso.datetime(), local: z.string() })

export const Opens = z.object({
  open: z.boolean(),
  /** When it closes, while it is open. */
  until: moment.nullable(),
  /** When it opens again; null when it never does. */
  next: moment.nullable(),
})
export type Opens = z.infer<typeof Opens>

export const RolloutWindowView = z.object({ ...WindowRule.shape, opens: Opens })

export const MaintenanceWindowView = z.object({
  /** For `If-Match`: another one after each change. */
  version: z.int(),
  id: z.string(),
  deviceId: z.string().nullable(),
  groupId: z.string().nullable(),
  window: WindowRule,
  opens: Opens,
  createdBy: z.string(),
  changedAt: z.iso.datetime(),
})
export type MaintenanceWindowView = z.infer<typeof MaintenanceWindowView>

export const CalendarBody = z.strictObject({
  name: z.string().trim().min(1).max(100),
  /** By whose calendar the days begin and end. */
  zone,
  dates: Blackouts.min(1),
})
export type CalendarBody = z.infer<typeof CalendarBody>

export const CalendarView = z.object({
  /** For `If-Match`: another one after each change. */
  version: z.int(),
  id: z.string(),
  name: z.string(),
  zone: z.string(),
  dates: z.array(z.string()),
  /** Is it one of these days now? */
  closed: z.boolean(),
  createdBy: z.string(),
  changedAt: z.iso.datetime(),
})
export type CalendarView = z.infer<typeof CalendarView>
