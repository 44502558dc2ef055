import { OverrideView } from '../../server/deployments/wire.ts'
import { collect } from '../collect.ts'
import type { Command, CommandInput } from '../command.ts'
import { Page } from '../page.ts'

/** Two people over one owner: only on managed devices, for security updates, and for a time. */
export const overrideCommands: readonly Command[] = [
  {
    verb: 'override',
    args: 'DEPLOYMENT',
    summary: "Ask to install a security update over its owner's word (managed devices only)",
    options: {
      reason: { type: 'string', value: 'TEXT', about: 'why; the owner reads it (needed)' },
      until: {
        type: 'string',
        value: 'WHEN',
        about: 'such as 48h or an instant; 30 days at most (needed)',
      },
    },
    run: async ({ client, args: [deployment = ''], values, out, world }) => {
      values.needed('until')
      const body = { reason: values.needed('reason'), until: values.instant('until', world.now()) }
      const api = await client()
      const path = `/deployments/${encodeURIComponent(deployment)}/overrides` as const
      const made = await api.create(OverrideView, path, body)
      show(out, made)
      out.say(`next: ${made.needed} others run fleetseal device approve-override ${made.id}`)
    },
  },
  {
    verb: 'overrides',
    args: 'DEPLOYMENT',
    summary: 'Overrides of a deployment, newest first',
    run: async ({ client, args: [deployment = ''], out }) => {
      const api = await client()
      const path = `/deployments/${encodeURIComponent(deployment)}/overrides` as const
      out.rows(await collect(api.list(Page(OverrideView), path)), [
        { head: 'in force', cell: (one) => one.inForce },
        { head: 'until', cell: (one) => one.until },
        { head: 'asked by', cell: (one) => one.createdBy },
        { head: 'approved by', cell: (one) => one.approvedBy.join(', ') },
        { head: 'reason', cell: (one) => one.reason },
        { head: 'id', cell: (one) => one.id },
      ])
    },
  },
  {
    verb: 'approve-override',
    args: 'OVERRIDE',
    summary: 'Approve it; two others than who asked for it must, or more by policy',
    run: action('approve'),
  },
  {
    verb: 'revoke-override',
    args: 'OVERRIDE',
    summary: 'Take it back; the owner decides again',
    run: action('revoke'),
  },
]

function action(word: 'approve' | 'revoke') {
  return async ({ client, args: [override = ''], out }: CommandInput) => {
    const api = await client()
    const path = `/overrides/${encodeURIComponent(override)}/actions` as const
    show(out, await api.act(OverrideView, path, { action: word }))
  }
}

function show(out: CommandInput['out'], override: OverrideView): void {
  out.fields(override, (one) => [
    ['in force', one.inForce],
    ['reason', one.reason],
    ['until', one.until],
    ['asked by', one.createdBy],
    ['approved by', one.approvedBy.join(', ')],
    ['needed', one.needed],
    ['approve until', one.approveUntil],
    ['taken back by', one.revokedBy],
    ['id', one.id],
  ])
}
