import { PermissionView, RoleView } from '../../server/access/wire.ts'
import type { ApiClient } from '../api.ts'
import { collect } from '../collect.ts'
import type { CommandInput, Noun } from '../command.ts'
import { usageError } from '../failure.ts'
import { groupId } from '../lookup.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'

const columns: Column<RoleView>[] = [
  { head: 'name', cell: (role) => role.name },
  { head: 'held by', cell: (role) => role.holders },
  { head: 'permissions', cell: (role) => role.permissions.length },
  { head: 'groups', cell: (role) => role.groupIds.length || 'all' },
  { head: 'kind', cell: (role) => (role.builtIn ? 'always there' : 'own') },
]

export const roleNoun: Noun = {
  noun: 'role',
  summary: 'what somebody may do, under a name',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'All roles: those that are always there, then your own',
      run: async ({ client, out }) =>
        out.rows(await collect((await client()).list(Page(RoleView), '/roles')), columns),
    },
    {
      verb: 'permissions',
      args: '',
      summary: 'What there is to be allowed, and the roles that allow it',
      run: async ({ client, out }) =>
        out.rows(await collect((await client()).list(Page(PermissionView), '/permissions')), [
          { head: 'permission', cell: (one) => one.permission },
          { head: 'roles', cell: (one) => one.roles.join(', ') },
        ]),
    },
    {
      verb: 'show',
      args: 'ROLE',
      summary: 'One role',
      run: async ({ client, args: [name = ''], out }) =>
        show(out, await (await client()).get(RoleView, pathOf(name))),
    },
    {
      verb: 'create',
      args: 'ROLE',
      summary: 'Make a role; it can do nothing that you cannot',
      options: contentOptions(),
      run: async ({ client, args: [name], values, out }) => {
        const api = await client()
        const body = { name, ...(await contentOf(api, values)) }
        show(out, await api.create(RoleView, '/roles', body))
      },
    },
    {
      verb: 'change',
      args: 'ROLE',
      summary: 'Say anew what a role may do, for all who have it',
      options: contentOptions(),
      run: async ({ client, args: [name = ''], values, out }) => {
        const api = await client()
        show(out, await api.replace(RoleView, pathOf(name), await contentOf(api, values)))
      },
    },
    {
      verb: 'delete',
      args: 'ROLE',
      summary: 'Remove a role that nobody has',
      run: async ({ client, args: [name = ''], out }) => {
        await (await client()).delete(pathOf(name))
        out.say('deleted')
      },
    },
  ],
}

function contentOptions() {
  return {
    allow: {
      type: 'string',
      value: 'PERMISSION',
      multiple: true,
      about: 'what it may do (fleetseal role permissions); again for each (needed)',
    },
    group: {
      type: 'string',
      value: 'GROUP',
      multiple: true,
      about: 'only for devices that are in this group, and in each one given',
    },
    description: { type: 'string', value: 'TEXT', about: 'what it is for' },
  } as const
}

async function contentOf(api: ApiClient, values: CommandInput['values']) {
  const permissions = values.texts('allow')
  if (permissions.length === 0) throw usageError('--allow is missing')
  const groupIds = await groupIdsOf(api, values)
  return { permissions, groupIds, description: values.text('description') }
}

/** The ids of the groups that `--group` names. */
export async function groupIdsOf(
  api: ApiClient,
  values: CommandInput['values'],
): Promise<string[]> {
  const ids: string[] = []
  for (const group of values.texts('group')) ids.push(await groupId(api, group))
  return ids
}

function pathOf(name: string) {
  return `/roles/${encodeURIComponent(name)}` as const
}

function show(out: CommandInput['out'], role: RoleView): void {
  out.fields(role, (one) => [
    ['name', one.name],
    ['description', one.description],
    ['may', one.permissions.join(', ')],
    ['groups', one.groupIds.join(' and ') || 'all devices'],
    ['held by', one.holders],
    ['kind', one.builtIn ? 'always there' : 'own'],
  ])
}
