import { HolderView } from '../../server/access/wire.ts'
import type { ApiClient } from '../api.ts'
import { collect } from '../collect.ts'
import type { CommandInput, Noun } from '../command.ts'
import { Failure } from '../failure.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'
import { groupIdsOf } from './role.ts'

type Given = HolderView['grants'][number]

const columns: Column<HolderView>[] = [
  { head: 'who', cell: (holder) => holder.principal },
  { head: 'name', cell: (holder) => holder.name },
  { head: 'may', cell: (holder) => textOf(holder) },
  { head: 'active', cell: (holder) => (holder.active ? 'yes' : 'no') },
]

const attempts = 5

export const grantNoun: Noun = {
  noun: 'grant',
  summary: 'who has which role, and for which devices',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'Everybody, newest first',
      options: { role: { type: 'string', value: 'ROLE', about: 'only those who have it' } },
      run: async ({ client, values, out }) => {
        const query = { role: values.text('role') }
        const api = await client()
        out.rows(await collect(api.list(Page(HolderView), '/grants', query)), columns)
      },
    },
    {
      verb: 'show',
      args: 'WHO',
      summary: 'Which roles one has: key:ID, user:ID, workload:ID',
      run: async ({ client, args: [who = ''], out }) =>
        show(out, await (await client()).get(HolderView, pathOf(who))),
    },
    {
      verb: 'add',
      args: 'WHO ROLE',
      summary: 'Give a role, beside those that one has',
      options: groupOption(),
      run: change((grants, one) => [...grants.filter((each) => !isSame(each, one)), one]),
    },
    {
      verb: 'remove',
      args: 'WHO ROLE',
      summary: 'Take a role; with the groups that it was given for',
      options: groupOption(),
      run: change((grants, one) => grants.filter((each) => !isSame(each, one))),
    },
    {
      verb: 'set',
      args: 'WHO ROLE',
      summary: 'Give a role instead of all that one has',
      options: groupOption(),
      run: change((_grants, one) => [one]),
    },
  ],
}

function groupOption() {
  return {
    group: {
      type: 'string',
      value: 'GROUP',
      multiple: true,
      about: 'only for devices that are in this group, and in each one given',
    },
  } as const
}

function change(changed: (grants: Given[], one: Given) => Given[]) {
  return async ({ client, args: [who = '', role = ''], values, out }: CommandInput) => {
    const api: ApiClient = await client()
    const one = { role, groupIds: await groupIdsOf(api, values) }
    for (let tried = 1; ; tried++) {
      const seen = await api.get(HolderView, pathOf(who))
      const body = { grants: changed(seen.grants, one) }
      try {
        return show(out, await api.replace(HolderView, pathOf(who), body, seen))
      } catch (error) {
        // Somebody else changed them in between: his change stays, and this one is made of it.
        const isOld = error instanceof Failure && error.code === 'precondition-failed'
        if (!isOld || tried === attempts) throw error
      }
    }
  }
}

function isSame(one: Given, other: Given): boolean {
  const text = ({ role, groupIds }: Given) => `${role} ${groupIds.toSorted().join(' ')}`
  return text(one) === text(other)
}

function pathOf(who: string) {
  return `/grants/${encodeURIComponent(who)}` as const
}

function textOf({ grants }: HolderView): string {
  return grants
    .map(({ role, groupIds }) =>
      groupIds.length === 0 ? role : `${role} in ${groupIds.join(' and ')}`,
    )
    .join('; ')
}

function show(out: CommandInput['out'], holder: HolderView): void {
  out.fields(holder, (one) => [
    ['who', one.principal],
    ['name', one.name],
    ['may', textOf(one) || 'nothing'],
    ['active', one.active ? 'yes' : 'no'],
  ])
}
