import { GroupView } from '../../server/groups/wire.ts'
import { collect } from '../collect.ts'
import type { CommandInput, Noun } from '../command.ts'
import { deviceId, groupId } from '../lookup.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'

const columns: Column<GroupView>[] = [
  { head: 'name', cell: (group) => group.name },
  { head: 'devices', cell: (group) => group.deviceCount },
  { head: 'query', cell: (group) => group.query },
  { head: 'cut off', cell: (group) => group.incident?.reason },
  { head: 'id', cell: (group) => group.id },
]

export const groupNoun: Noun = {
  noun: 'group',
  summary: 'groups of devices',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'All groups, newest first',
      run: async ({ client, out }) =>
        out.rows(await collect((await client()).list(Page(GroupView), '/groups')), columns),
    },
    {
      verb: 'create',
      args: 'NAME',
      summary: 'Make a group',
      options: {
        description: { type: 'string', value: 'TEXT', about: 'what it is for' },
        query: queryOption('its members are the devices that this finds, now and later'),
      },
      run: async ({ client, args: [name], values, out }) => {
        const body = { name, description: values.text('description'), query: values.text('query') }
        show(out, await (await client()).create(GroupView, '/groups', body))
      },
    },
    {
      verb: 'show',
      args: 'GROUP',
      summary: 'One group, by id or name',
      run: async ({ client, args: [group = ''], out }) => {
        const api = await client()
        show(out, await api.get(GroupView, `/groups/${await groupId(api, group)}`))
      },
    },
    {
      verb: 'change',
      args: 'GROUP',
      summary: 'Rename or describe a group, or change its query',
      options: {
        name: { type: 'string', value: 'NAME', about: 'its new name' },
        description: { type: 'string', value: 'TEXT', about: 'what it is for' },
        query: queryOption('which devices it finds from now on'),
      },
      run: async ({ client, args: [group = ''], values, out }) => {
        const api = await client()
        const body = {
          name: values.text('name'),
          description: values.text('description'),
          query: values.text('query'),
        }
        show(out, await api.patch(GroupView, `/groups/${await groupId(api, group)}`, body))
      },
    },
    {
      verb: 'delete',
      args: 'GROUP',
      summary: 'Remove a group that nothing uses',
      run: async ({ client, args: [group = ''], out }) => {
        const api = await client()
        await api.delete(`/groups/${await groupId(api, group)}`)
        out.say('deleted')
      },
    },
    {
      verb: 'add',
      args: 'GROUP DEVICE',
      summary: 'Put a device into a group',
      run: membership('put'),
    },
    {
      verb: 'remove',
      args: 'GROUP DEVICE',
      summary: 'Take a device out of a group',
      run: membership('delete'),
    },
    {
      verb: 'disable',
      args: 'GROUP',
      summary: 'Cut off every device of a group at once',
      options: reasonOption(),
      run: action('disable'),
    },
    {
      verb: 'enable',
      args: 'GROUP',
      summary: 'Let the devices of a group back',
      options: reasonOption(),
      run: action('enable'),
    },
  ],
}

function queryOption(about: string) {
  return { type: 'string', value: 'QUERY', about } as const
}

function reasonOption() {
  return {
    reason: { type: 'string', value: 'TEXT', about: 'why, for the audit log (needed)' },
  } as const
}

function membership(method: 'put' | 'delete') {
  return async ({ client, args: [group = '', device = ''], out }: CommandInput) => {
    const api = await client()
    await api[method](`/groups/${await groupId(api, group)}/devices/${await deviceId(api, device)}`)
    out.say(method === 'put' ? 'added' : 'removed')
  }
}

function action(word: 'disable' | 'enable') {
  return async ({ client, args: [group = ''], values, out }: CommandInput) => {
    const body = { action: word, reason: values.needed('reason') }
    const api = await client()
    show(out, await api.act(GroupView, `/groups/${await groupId(api, group)}/actions`, body))
  }
}

function show(out: CommandInput['out'], group: GroupView): void {
  out.fields(group, (one) => [
    ['name', one.name],
    ['description', one.description],
    ['devices', one.deviceCount],
    ['query', one.query],
    ['all looked at', one.query === null ? null : (one.evaluatedAt ?? 'not yet')],
    ['cut off', one.incident && `${one.incident.reason} (since ${one.incident.openedAt})`],
    ['id', one.id],
  ])
}
