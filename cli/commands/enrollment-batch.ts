import { BatchRowView, BatchView } from '../../server/enrollment/wire.ts'
import { collect } from '../collect.ts'
import type { Command } from '../command.ts'
import { openCsv } from '../csv-upload.ts'
import { profileId } from '../lookup.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'

const columns: Column<BatchView>[] = [
  { head: 'state', cell: (batch) => batch.state },
  { head: 'issued', cell: (batch) => `${batch.issued} of ${batch.total}` },
  { head: 'failed', cell: (batch) => batch.failed },
  { head: 'made', cell: (batch) => batch.createdAt },
  { head: 'id', cell: (batch) => batch.id },
]

/** Certificates for files of requests. */
export const batchCommands: readonly Command[] = [
  {
    verb: 'issue',
    args: 'PROFILE FILE',
    summary: 'Issue certificates for a CSV file (column csr) or a ZIP of requests, as a job',
    run: async ({ client, args: [profile = '', file = ''], out }) => {
      const api = await client()
      const path = `/enrollment-profiles/${await profileId(api, profile)}/batches` as const
      const { source, size } = await openCsv(file)
      const isZip = file.toLowerCase().endsWith('.zip')
      const headers = { 'Content-Type': isZip ? 'application/zip' : 'text/csv' }
      const upload = { method: 'POST', source, size, headers } as const
      out.rows([await api.upload(BatchView, path, upload)], columns)
    },
  },
  {
    verb: 'batches',
    args: '',
    summary: 'Files of requests and how far they are, newest first',
    run: async ({ client, out }) =>
      out.rows(
        await collect((await client()).list(Page(BatchView), '/enrollment-batches')),
        columns,
      ),
  },
  {
    verb: 'batch',
    args: 'BATCH',
    summary: 'What came of each row; --json has the certificates',
    run: async ({ client, args: [batch = ''], out }) => {
      const path = `/enrollment-batches/${encodeURIComponent(batch)}/rows` as const
      out.rows(await collect((await client()).list(Page(BatchRowView), path)), [
        { head: 'row', cell: (row) => row.row },
        { head: 'state', cell: (row) => row.state },
        { head: 'serial', cell: (row) => row.serialNumber },
        { head: 'fingerprint', cell: (row) => row.fingerprint },
        { head: 'why', cell: (row) => row.message },
      ])
    },
  },
]
