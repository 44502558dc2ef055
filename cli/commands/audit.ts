import { AuditView, VerifyView } from '../../server/audit/wire.ts'
import { collect } from '../collect.ts'
import type { Noun } from '../command.ts'
import { Failure } from '../failure.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'

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
    {
      verb: 'verify',
      args: '',
      summary: 'Walk the whole chain; fails at the first row that was changed or is missing',
      run: async ({ client, out }) => {
        const api = await client()
        let walked = 0
        let after = 0
        for (;;) {
          const report = await api.get(VerifyView, '/audit/verify', { after })
          walked += report.walked
          after = report.verifiedTo
          if (report.firstBreak) {
            const { chainNo, reason } = report.firstBreak
            throw new Failure('chain-broken', `The chain does not hold at ${chainNo}: ${reason}`, {
              nextStep: 'Compare the database with a backup from before this row',
              facts: { ...report, walked },
            })
          }
          if (report.more) continue
          out.fields({ ...report, walked }, (one) => [
            ['chain', 'holds'],
            ['rows', one.walked],
            ['not sealed yet', one.unsealed],
            ['head', one.head],
          ])
          return
        }
      },
    },
  ],
}
