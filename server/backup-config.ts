import { resolve } from 'node:path'

import { z } from 'zod'

/** Where backups go, sealed for whom, how often and how many. */
export const backupVariables = {
  FLEETSEAL_BACKUP_DIR: z.string().min(1).optional(),
  FLEETSEAL_BACKUP_KEY_FILE: z.string().min(1).optional(),
  FLEETSEAL_BACKUP_HOURS: z.coerce.number().int().min(1).max(8_760).default(24),
  FLEETSEAL_BACKUP_KEEP: z.coerce.number().int().min(1).max(1_000).default(7),
  FLEETSEAL_BACKUP_INCLUDE: z
    .string()
    .regex(/^(none|((artifacts|kek)(,(artifacts|kek))?))$/, 'must be none, or of artifacts, kek')
    .transform((text) => (['artifacts', 'kek'] as const).filter((one) => text.includes(one)))
    .default(['artifacts']),
} as const

type Given = z.infer<z.ZodObject<typeof backupVariables>>

export function backupProblems(environment: NodeJS.ProcessEnv): string[] {
  const { FLEETSEAL_BACKUP_DIR: dir, FLEETSEAL_BACKUP_KEY_FILE: key } = environment
  const problems =
    !dir === !key ? [] : ['FLEETSEAL_BACKUP_DIR: set it together with FLEETSEAL_BACKUP_KEY_FILE']
  if (isInBucket(environment) && environment['FLEETSEAL_BACKUP_INCLUDE']?.includes('artifacts')) {
    problems.push('FLEETSEAL_BACKUP_INCLUDE: artifacts in a bucket are not part of backups')
  }
  return problems
}

/** Undefined: no backups are made here. */
export function backupSettings(given: Given & { FLEETSEAL_S3_BUCKET?: string | undefined }) {
  const { FLEETSEAL_BACKUP_DIR: dir, FLEETSEAL_BACKUP_KEY_FILE: keyFile } = given
  if (dir === undefined || keyFile === undefined) return { backup: undefined }
  const everyMs = given.FLEETSEAL_BACKUP_HOURS * 3_600_000
  const keep = given.FLEETSEAL_BACKUP_KEEP
  const includes = given.FLEETSEAL_BACKUP_INCLUDE.filter(
    (one) => one !== 'artifacts' || !isInBucket(given),
  )
  return { backup: { dir: resolve(dir), keyFile: resolve(keyFile), everyMs, keep, includes } }
}

/** A bucket is kept safe where it is: by versions or copies of its own. */
function isInBucket(given: { FLEETSEAL_S3_BUCKET?: string | undefined }): boolean {
  return given.FLEETSEAL_S3_BUCKET !== undefined
}
