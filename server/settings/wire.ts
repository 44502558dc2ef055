import { z } from 'zod'

import { settingsStates } from './state.ts'

export const SettingsParams = z.object({ deviceId: z.uuid().toLowerCase() })

/** Checked against the model's schema; here only that it is an object. */
export const SettingsBody = z.strictObject({ settings: z.record(z.string().max(64), z.unknown()) })

export const SettingsView = z.object({
  id: z.uuid(),
  deviceId: z.uuid(),
  revision: z.int(),
  settings: z.record(z.string(), z.unknown()),
  state: z.enum(settingsStates),
  /** Why the device refused them or took them back. */
  code: z.string().nullable(),
  detail: z.string().nullable(),
  createdBy: z.string(),
  createdAt: z.iso.datetime(),
  changedAt: z.iso.datetime(),
})
export type SettingsView = z.infer<typeof SettingsView>
