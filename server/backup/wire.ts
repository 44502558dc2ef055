import { z } from 'zod'

export const BackupView = z.object({
  name: z.string(),
  bytes: z.number().int(),
  madeAt: z.iso.datetime(),
})
export type BackupView = z.infer<typeof BackupView>

export const BackupsView = z.object({
  /** Newest first, all that are kept. */
  backups: z.array(BackupView).max(1_001),
  /** The one that is being made now. */
  running: z.string().nullable(),
  /** How the last one failed, if it did. */
  failure: z.object({ name: z.string(), detail: z.string() }).nullable(),
})
export type BackupsView = z.infer<typeof BackupsView>

export const StartedBackupView = z.object({ name: z.string() })
