import { EventView } from '../../server/events/wire.ts'
import { collect } from '../collect.ts'
import type { Noun } from '../command.ts'
import { deviceId } from '../lookup.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'

const columns: Column<EventView>[] = [
  { head: 'at', cell: (event) => event.at },
  { head: 'severity', cell: (event) => event.severity },
  { head: 'kind', cell: (event) => event.kind },
  { head: 'by', cell: (event) => event.source },
  { head: 'device', cell: (event) => event.deviceId },
  { head: 'facts', cell: (event) => JSON.stringify(event.facts) },
]

export const eventsNoun: Noun = {
  noun: 'events',
  summary: 'security events, from the server and from devices',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'Events, newest first',
      options: {
        device: { type: 'string', value: 'DEVICE', about: 'only of this device' },
        kind: { type: 'string', value: 'KIND', about: 'only of this kind' },
        severity: { type: 'string', value: 'LEVEL', about: 'info, warning or critical' },
        limit: { type: 'string', value: 'N', about: 'at most so many (50)' },
      },
      run: async ({ client, values, out }) => {
        const api = await client()
        const device = values.text('device')
        const query = {
          deviceId: device === undefined ? undefined : await deviceId(api, device),
          kind: values.text('kind'),
          severity: values.oneOf('severity', ['info', 'warning', 'critical']),
          atMost: values.number('limit') ?? 50,
        }
        out.rows(await collect(api.list(Page(EventView), '/events', query)), columns)
      },
    },
  ],
}
