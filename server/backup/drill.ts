import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { sql } from 'kysely'

import { parseCertificate } from '../../pki/x509/parse.ts'
import { verifyChain } from '../audit/verify.ts'
import { dataPaths } from '../authorities/data-dir.ts'
import type { Config } from '../config.ts'
import { type Db, openEmbedded } from '../db/client.ts'
import { BackupError } from './backup-error.ts'
import { restoreBackup, type RestoreOrder, type RestoreReport } from './restore.ts'

export interface DrillReport {
  backup: { madeAt: string; tables: number; rows: number; artifacts: number }
  /** Certificates whose bytes, serial number and state were looked at. */
  certificates: number
  revoked: number
  audit: { rows: number; head: string }
  seconds: number
}

/**
 * Restores a backup into a database of its own, in a temporary folder, looks at everything that must not be lost, and throws it away: what is in
 * use is not touched.
 *
 * @throws BackupError with the first thing that is not as it should be
 */
export async function drill(
  config: Pick<Config, 'kekFile'>,
  order: RestoreOrder,
): Promise<DrillReport> {
  const startedAt = performance.now()
  const folder = await mkdtemp(join(tmpdir(), 'fleetseal-drill-'))
  try {
    const dataDir = join(folder, 'data')
    const target = { dataDir, databaseUrl: undefined }
    const report = await restore(config, { ...target, kekFile: join(dataDir, 'kek') }, order)
    await using handle = await openEmbedded(dataPaths({ dataDir, kekFile: '' }).database)
    await compareRows(handle.db, report)
    const { certificates, revoked } = await lookAtCertificates(handle.db)
    const audit = await lookAtAudit(handle.db)
    const rows = Object.values(report.tables).reduce((sum, count) => sum + count, 0)
    const backup = {
      madeAt: report.manifest.createdAt,
      tables: Object.keys(report.tables).length,
      rows,
      artifacts: report.artifacts.count,
    }
    const seconds = Math.round((performance.now() - startedAt) / 100) / 10
    return { backup, certificates, revoked, audit, seconds }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** With the backup's own key, or else with the one that is in use. */
async function restore(
  { kekFile }: Pick<Config, 'kekFile'>,
  target: Pick<Config, 'dataDir' | 'kekFile' | 'databaseUrl'>,
  order: RestoreOrder,
): Promise<RestoreReport> {
  try {
    return await restoreBackup(target, order)
  } catch (error) {
    if (!(error instanceof BackupError) || !error.message.includes('holds no key')) throw error
    return await restoreBackup({ ...target, kekFile }, order)
  }
}

/** The restore itself writes one row of audit; everything else has to be as many as before. */
async function compareRows(db: Db, { tables }: RestoreReport): Promise<void> {
  for (const [name, count] of Object.entries(tables)) {
    const { rows } = await sql<{
      n: number
    }>`select count(*)::int as n from ${sql.table(name)}`.execute(db)
    const found = rows[0]?.n ?? 0
    if (found < count) throw new BackupError(`${name} has ${found} rows instead of ${count}`)
  }
}

const pageSize = 500

async function lookAtCertificates(db: Db): Promise<{ certificates: number; revoked: number }> {
  let certificates = 0
  let revoked = 0
  let after = '00000000-0000-0000-0000-000000000000'
  for (;;) {
    const rows = await db
      .selectFrom('certificate')
      .select(['id', 'der', 'serial', 'state'])
      .where('id', '>', after)
      .orderBy('id')
      .limit(pageSize)
      .execute()
    for (const { id, der, serial, state } of rows) {
      if (state === 'revoked') revoked += 1
      if (der === null) continue
      certificates += 1
      if (!isSame(parseCertificate(der).serial, serial)) {
        throw new BackupError(`The certificate ${id} has another serial number than its row`)
      }
    }
    if (rows.length < pageSize) return { certificates, revoked }
    after = rows.at(-1)?.id ?? after
  }
}

function isSame(a: Buffer, b: Buffer): boolean {
  return BigInt(`0x${a.toString('hex')}`) === BigInt(`0x${b.toString('hex')}`)
}

async function lookAtAudit(db: Db): Promise<DrillReport['audit']> {
  let rows = 0
  for (let after = 0; ;) {
    const report = await verifyChain({ db }, { after, limit: 100_000 })
    rows += report.walked
    after = report.verifiedTo
    if (report.firstBreak) {
      const { chainNo, reason } = report.firstBreak
      throw new BackupError(`The audit chain does not hold at ${chainNo}: ${reason}`)
    }
    if (!report.more) return { rows, head: report.head.toString('hex') }
  }
}
