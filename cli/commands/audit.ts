import {
  AuditKeyView,
  AuditStatusView,
  AuditView,
  CheckpointView,
  HoldView,
} from '../../server/audit/wire.ts'
import { collect } from '../collect.ts'
import type { Noun } from '../command.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'
import { exportAudit } from './audit-export.ts'
import { verifyAudit } from './audit-verify.ts'

const columns: Column<AuditView>[] = [
  { head: 'at', cell: (entry) => entry.at },
  { head: 'actor', cell: (entry) => entry.actor },
  { head: 'action', cell: (entry) => entry.action },
  { head: 'subject', cell: (entry) => entry.subject },
  { head: 'facts', cell: (entry) => JSON.stringify(entry.facts) },
]

export const auditNoun: Noun = {
  noun: 'audit',
  summary: 'who changed what, in a chain of hashes',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'Changes, newest first',
      options: {
        subject: { type: 'string', value: 'ID', about: 'only what was done to this' },
        actor: { type: 'string', value: 'ACTOR', about: 'only by this one, e.g. key:ID or system' },
        action: { type: 'string', value: 'ACTION', about: 'only this, e.g. device.revoke' },
        limit: { type: 'string', value: 'N', about: 'at most so many (50)' },
      },
      run: async ({ client, values, out }) => {
        const query = {
          subject: values.text('subject'),
          actor: values.text('actor'),
          action: values.text('action'),
          atMost: values.number('limit') ?? 50,
        }
        out.rows(await collect((await client()).list(Page(AuditView), '/audit', query)), columns)
      },
    },
    verifyAudit,
    exportAudit,
    {
      verb: 'status',
      args: '',
      summary: 'Where the log begins and ends, what was signed, and who could change it',
      run: async ({ client, out }) => {
        const status = await (await client()).get(AuditStatusView, '/audit/status')
        out.fields(status, (one) => [
          ['kept from row', one.begins],
          ['head', one.head ? `${one.head.chainNo} ${one.head.hash}` : 'none'],
          ['not sealed yet', one.unsealed],
          [
            'signed up to',
            one.checkpoint ? `${one.checkpoint.chainNo} (${one.checkpoint.at})` : 'never',
          ],
          ['kept for', one.keptDays === null ? 'ever' : `${one.keptDays} days`],
          ['on hold', one.hold?.held === true ? one.hold.reason : 'no'],
          [
            'rights',
            one.rightsSeparated
              ? 'separated: the server can only add'
              : `the server's role may ${one.excessiveRights.join(', ')}: see docs/audit.md`,
          ],
        ])
      },
    },
    {
      verb: 'keys',
      args: '',
      summary: 'The public keys of the log, newest first: hand one to whoever verifies',
      run: async ({ client, out }) => {
        out.rows(await collect((await client()).list(Page(AuditKeyView), '/audit/keys')), [
          { head: 'key', cell: (one) => one.key },
          { head: 'made', cell: (one) => one.createdAt },
          { head: 'retired', cell: (one) => one.retiredAt ?? '' },
        ])
      },
    },
    {
      verb: 'rotate-key',
      args: '',
      summary: 'Replace the key of the log by a new one, which the one before signs',
      run: async ({ client, out }) => {
        const key = await (await client()).create(AuditKeyView, '/audit/keys', undefined)
        out.fields(key, (one) => [
          ['key', one.key],
          ['made', one.createdAt],
        ])
      },
    },
    {
      verb: 'checkpoints',
      args: '',
      summary: 'What was signed, newest first: keep one somewhere else',
      options: { limit: { type: 'string', value: 'N', about: 'at most so many (1)' } },
      run: async ({ client, values, out }) => {
        const query = { atMost: values.number('limit') ?? 1 }
        const pages = (await client()).list(Page(CheckpointView), '/audit/checkpoints', query)
        const all = await collect(pages)
        // As they are, so that they can be kept in a file.
        out.answer(all, (notes) => notes.map(({ note }) => note.trimEnd()).join('\n'))
      },
    },
    {
      verb: 'hold',
      args: '',
      summary: 'Keep every row from being dropped, as for an inquiry; --lift ends that',
      options: {
        reason: { type: 'string', value: 'TEXT', about: 'why (needed)' },
        lift: { type: 'boolean', about: 'end it' },
      },
      run: async ({ client, values, out }) => {
        const body = { held: !values.flag('lift'), reason: values.needed('reason') }
        const hold = await (await client()).replace(HoldView, '/audit/hold', body)
        out.fields(hold, (one) => [
          ['on hold', one.held ? 'yes' : 'no'],
          ['reason', one.reason],
          ['by', one.actor],
          ['since', one.at],
        ])
      },
    },
  ],
}
