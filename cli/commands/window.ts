import { CalendarView, MaintenanceWindowView } from '../../server/rollouts/window-wire.ts'
import type { ApiClient } from '../api.ts'
import { collect } from '../collect.ts'
import type { CommandInput, Noun, Option } from '../command.ts'
import { Failure, usageError } from '../failure.ts'
import { deviceId, groupId, isId } from '../lookup.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'
import type { Values } from '../values.ts'
import { besideWindow, opensFields, windowOf, windowText } from '../window-text.ts'

const columns: Column<MaintenanceWindowView>[] = [
  { head: 'of', cell: (one) => (one.groupId === null ? 'device' : 'group') },
  { head: 'id', cell: (one) => one.groupId ?? one.deviceId },
  { head: 'window', cell: ({ window }) => windowText(window) },
  { head: 'open', cell: ({ opens }) => (opens.open ? `until ${opens.until?.local ?? '?'}` : 'no') },
  { head: 'opens next', cell: ({ opens }) => opens.next?.local ?? 'never' },
]

const owner: Record<string, Option> = {
  group: { type: 'string', value: 'GROUP', about: 'of the devices of this group' },
  device: { type: 'string', value: 'DEVICE', about: 'of this device' },
}

export const windowNoun: Noun = {
  noun: 'window',
  summary: 'when updates may begin on a device, or on the devices of a group',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'Windows of devices and groups, and when they open next',
      options: owner,
      run: async ({ client, values, out }) => {
        const api = await client()
        const group = values.text('group')
        const device = values.text('device')
        const query = {
          groupId: group === undefined ? undefined : await groupId(api, group),
          deviceId: device === undefined ? undefined : await deviceId(api, device),
        }
        out.rows(await collect(api.list(Page(MaintenanceWindowView), '/windows', query)), columns)
      },
    },
    {
      verb: 'set',
      args: 'WINDOW',
      summary: 'Let updates begin then only, e.g. "0 1 * * */PT4H@Europe/Berlin"',
      options: { ...owner, ...besideWindow },
      run: async ({ client, args: [text = ''], values, out }) => {
        const body = windowOf(text, values)
        const api = await client()
        show(out, await api.replace(MaintenanceWindowView, await pathOf(api, values), body))
      },
    },
    {
      verb: 'remove',
      args: '',
      summary: 'Take a window away',
      options: owner,
      run: async ({ client, values, out }) => {
        const api = await client()
        await api.delete(await pathOf(api, values))
        out.say('removed')
      },
    },
  ],
}

async function pathOf(api: ApiClient, values: Values) {
  const group = values.text('group')
  const device = values.text('device')
  if ((group === undefined) === (device === undefined)) {
    throw usageError('Say whose window it is: --group GROUP or --device DEVICE')
  }
  return group === undefined
    ? (`/devices/${await deviceId(api, device ?? '')}/window` as const)
    : (`/groups/${await groupId(api, group)}/window` as const)
}

function show(out: CommandInput['out'], view: MaintenanceWindowView): void {
  out.fields(view, ({ window, opens, ...one }) => [
    ['window', windowText(window)],
    ['closed on', window.blackout.join(', ')],
    ['last day', window.until ?? null],
    ['hard close', window.hardClose ? 'yes' : null],
    ...opensFields(opens),
    ['group', one.groupId],
    ['device', one.deviceId],
    ['id', one.id],
  ])
}

const calendarColumns: Column<CalendarView>[] = [
  { head: 'name', cell: (one) => one.name },
  { head: 'zone', cell: (one) => one.zone },
  { head: 'days', cell: (one) => one.dates.join(', ') },
  { head: 'now', cell: (one) => (one.closed ? 'closed' : null) },
  { head: 'id', cell: (one) => one.id },
]

const days: Record<string, Option> = {
  zone: { type: 'string', value: 'ZONE', about: 'where the days begin and end (needed)' },
  date: {
    type: 'string',
    multiple: true,
    value: 'DATE[/DATE]',
    about: 'a day, or the first and last of several (needed)',
  },
}

export const blackoutNoun: Noun = {
  noun: 'blackout',
  summary: 'days on which no update begins anywhere',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'All calendars of such days',
      run: async ({ client, out }) =>
        out.rows(
          await collect((await client()).list(Page(CalendarView), '/blackouts')),
          calendarColumns,
        ),
    },
    {
      verb: 'create',
      args: 'NAME',
      summary: 'Name such days',
      options: days,
      run: async ({ client, args: [name], values, out }) => {
        const body = { name, zone: values.needed('zone'), dates: values.texts('date') }
        const view = await (await client()).create(CalendarView, '/blackouts', body)
        out.rows([view], calendarColumns)
      },
    },
    {
      verb: 'change',
      args: 'BLACKOUT',
      summary: 'Put other days in place of those that it has',
      options: days,
      run: async ({ client, args: [given = ''], values, out }) => {
        const api = await client()
        const { id, name } = await calendarOf(api, given)
        const body = { name, zone: values.needed('zone'), dates: values.texts('date') }
        out.rows([await api.replace(CalendarView, `/blackouts/${id}`, body)], calendarColumns)
      },
    },
    {
      verb: 'delete',
      args: 'BLACKOUT',
      summary: 'Remove a calendar',
      run: async ({ client, args: [given = ''], out }) => {
        const api = await client()
        await api.delete(`/blackouts/${(await calendarOf(api, given)).id}`)
        out.say('deleted')
      },
    },
  ],
}

async function calendarOf(api: ApiClient, given: string): Promise<CalendarView> {
  for await (const one of api.list(Page(CalendarView), '/blackouts')) {
    if (isId(given) ? one.id === given.toLowerCase() : one.name === given) return one
  }
  throw new Failure('not-found', `There is no blackout ${given}`, {
    nextStep: 'fleetseal blackout list',
  })
}
