import { z } from 'zod'

const severity = z.enum(['info', 'warning', 'critical'])
const source = z.enum(['server', 'device'])

/** Filters of `GET /events`: exact, all that are given must hold. */
export const eventFilter = {
  deviceId: z.uuid().lowercase().optional(),
  kind: z.string().min(1).max(64).optional(),
  severity: severity.optional(),
  source: source.optional(),
}

export const EventView = z.object({
  id: z.uuid(),
  at: z.iso.datetime(),
  source,
  kind: z.string(),
  severity,
  deviceId: z.uuid().nullable(),
  facts: z.record(z.string(), z.unknown()),
})
export type EventView = z.infer<typeof EventView>
