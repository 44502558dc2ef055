import { z } from 'zod'

/** What a backup begins with. */
export const Manifest = z.strictObject({
  format: z.literal(1),
  createdAt: z.iso.datetime(),
  /** Of the program that made it. */
  version: z.string(),
  database: z.enum(['pglite', 'postgres']),
  /** What had been applied to the database. */
  migrations: z.array(z.strictObject({ name: z.string(), sha256: z.string() })).max(10_000),
  includes: z.array(z.enum(['artifacts', 'kek'])),
})
export type Manifest = z.infer<typeof Manifest>

/** What can be left out of a backup. */
export const contents = ['artifacts', 'kek'] as const
export type Content = (typeof contents)[number]

/** Files of the data directory that are not made anew by a start. The key-encryption key is apart. */
export const keptFiles = ['admin-api-key', 'metrics-token', 'ca/root.pem'] as const

export interface BackupSummary {
  manifest: Manifest
  /** Rows by table. */
  tables: Record<string, number>
  files: string[]
  artifacts: { count: number; bytes: number }
}
