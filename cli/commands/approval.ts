import { ApprovalView, PolicyView } from '../../server/approvals/wire.ts'
import { collect } from '../collect.ts'
import type { CommandInput, Noun } from '../command.ts'
import { usageError } from '../failure.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'

const columns: Column<ApprovalView>[] = [
  { head: 'kind', cell: (one) => one.kind },
  { head: 'of', cell: (one) => one.subject },
  { head: 'asked by', cell: (one) => one.author },
  { head: 'state', cell: (one) => one.state },
  { head: 'agreed', cell: (one) => `${one.approvals.length} of ${one.needed}` },
  { head: 'until', cell: (one) => one.expiresAt },
  { head: 'id', cell: (one) => one.id },
]

export const approvalNoun: Noun = {
  noun: 'approval',
  summary: 'what one person wants to do and others have to agree to',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'What was asked for, newest first',
      run: async ({ client, out }) =>
        out.rows(await collect((await client()).list(Page(ApprovalView), '/approvals')), columns),
    },
    {
      verb: 'approve',
      args: 'ID',
      summary: 'Agree to it; then its author does it again',
      options: { reason: { type: 'string', value: 'TEXT', about: 'why, for the audit log' } },
      run: decision('approve'),
    },
    {
      verb: 'reject',
      args: 'ID',
      summary: 'Refuse it for all',
      options: { reason: { type: 'string', value: 'TEXT', about: 'why, for the audit log' } },
      run: decision('reject'),
    },
    {
      verb: 'withdraw',
      args: 'ID',
      summary: 'Take back what you asked for',
      run: decision('withdraw'),
    },
    {
      verb: 'policies',
      args: '',
      summary: 'How many others have to agree to what',
      run: async ({ client, out }) =>
        out.rows(await collect((await client()).list(Page(PolicyView), '/approval-policies')), [
          { head: 'kind', cell: (one) => one.kind },
          { head: 'needed', cell: (one) => one.needed },
          { head: 'hours', cell: (one) => one.expiresHours },
        ]),
    },
    {
      verb: 'require',
      args: 'KIND',
      summary: 'Say how many others have to agree; 0 asks nobody',
      options: { needed: { type: 'string', value: 'N', about: 'from 0 to 5 (needed)' } },
      run: async ({ client, args: [kind = ''], values, out }) => {
        const needed = values.number('needed')
        if (needed === undefined) throw usageError('--needed is missing')
        const api = await client()
        const body = { needed }
        const path = `/approval-policies/${encodeURIComponent(kind)}` as const
        out.fields(await api.replace(PolicyView, path, body), (one) => [
          ['kind', one.kind],
          ['needed', one.needed],
          ['hours', one.expiresHours],
        ])
      },
    },
  ],
}

function decision(action: 'approve' | 'reject' | 'withdraw') {
  return async ({ client, args: [id = ''], values, out }: CommandInput) => {
    const body = { action, reason: values.text('reason') }
    const path = `/approvals/${encodeURIComponent(id)}/actions` as const
    out.fields(await (await client()).act(ApprovalView, path, body), (one) => [
      ['kind', one.kind],
      ['of', one.subject],
      ['state', one.state],
      ['agreed', `${one.approvals.length} of ${one.needed}`],
    ])
  }
}
