import { WorkloadView } from '../../server/workloads/wire.ts'
import { collect } from '../collect.ts'
import type { CommandInput, Noun } from '../command.ts'
import { usageError } from '../failure.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'
import type { Values } from '../values.ts'
import { groupIdsOf } from './role.ts'

const columns: Column<WorkloadView>[] = [
  { head: 'name', cell: (one) => one.name },
  { head: 'issuer', cell: (one) => one.issuer },
  { head: 'subject', cell: (one) => one.subject },
  { head: 'roles', cell: (one) => one.grants.map(({ role }) => role).join(', ') },
  { head: 'last used', cell: (one) => one.lastUsedAt },
  { head: 'removed', cell: (one) => one.removedAt },
  { head: 'id', cell: (one) => one.id },
]

export const workloadNoun: Noun = {
  noun: 'workload',
  summary: 'pipelines that call with tokens of their issuer',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'All of them, removed ones too',
      run: async ({ client, out }) =>
        out.rows(await collect((await client()).list(Page(WorkloadView), '/workloads')), columns),
    },
    {
      verb: 'create',
      args: 'NAME',
      summary: 'Trust the tokens that an issuer gives to a project',
      options: {
        issuer: { type: 'string', value: 'URL', about: 'who signs the tokens (needed)' },
        audience: { type: 'string', value: 'TEXT', about: 'for whom they are made (needed)' },
        subject: {
          type: 'string',
          value: 'PATTERN',
          about: 'whose they are; * is anything but a colon (needed)',
        },
        claim: {
          type: 'string',
          value: 'NAME=TEXT',
          multiple: true,
          about: 'another claim that has to be just so',
        },
        role: { type: 'string', value: 'ROLE', about: 'what it may do (needed)' },
        group: {
          type: 'string',
          value: 'GROUP',
          multiple: true,
          about: 'only for devices that are in this group, and in each one given',
        },
      },
      run: async ({ client, args: [name = ''], values, out }) => {
        const api = await client()
        const body = {
          name,
          issuer: values.needed('issuer'),
          audience: values.needed('audience'),
          subject: values.needed('subject'),
          claims: claimsOf(values),
          role: values.needed('role'),
          groupIds: await groupIdsOf(api, values),
        }
        show(out, await api.create(WorkloadView, '/workloads', body))
      },
    },
    {
      verb: 'show',
      args: 'ID',
      summary: 'One of them',
      run: async ({ client, args: [id = ''], out }) =>
        show(out, await (await client()).get(WorkloadView, `/workloads/${encodeURIComponent(id)}`)),
    },
    {
      verb: 'remove',
      args: 'ID',
      summary: 'Trust these tokens no more',
      run: async ({ client, args: [id = ''], out }) => {
        await (await client()).delete(`/workloads/${encodeURIComponent(id)}`)
        out.say('removed')
      },
    },
  ],
}

function claimsOf(values: Values): Record<string, string> {
  return Object.fromEntries(
    values.texts('claim').map((text) => {
      const at = text.indexOf('=')
      if (at < 1) throw usageError(`--claim must be NAME=TEXT, not ${text}`)
      return [text.slice(0, at), text.slice(at + 1)]
    }),
  )
}

function show(out: CommandInput['out'], workload: WorkloadView): void {
  out.fields(workload, (one) => [
    ['name', one.name],
    ['issuer', one.issuer],
    ['audience', one.audience],
    ['subject', one.subject],
    [
      'claims',
      Object.entries(one.claims)
        .map(([name, text]) => `${name}=${text}`)
        .join(', '),
    ],
    ['roles', one.grants.map(({ role }) => role).join(', ')],
    ['last used', one.lastUsedAt],
    ['removed', one.removedAt],
    ['principal', one.principal],
    ['id', one.id],
  ])
}
