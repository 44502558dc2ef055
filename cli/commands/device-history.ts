import { PastDeploymentView } from '../../server/deployments/result-wire.ts'
import { collect } from '../collect.ts'
import type { Command } from '../command.ts'
import { deviceId } from '../lookup.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'

const columns: Column<PastDeploymentView>[] = [
  { head: 'since', cell: (past) => past.createdAt },
  { head: 'rollout', cell: (past) => past.rolloutName },
  { head: 'component', cell: (past) => past.component },
  { head: 'version', cell: (past) => past.version },
  { head: 'state', cell: (past) => past.state },
  {
    head: 'said',
    cell: (past) =>
      past.said.map(({ code, detail }) => [code, detail].filter(Boolean).join(': ')).join('; '),
  },
  { head: 'id', cell: (past) => past.id },
]

export const deviceHistoryCommand: Command = {
  verb: 'history',
  args: 'DEVICE',
  summary: 'Everything that was ever given to it, and what it said when something went wrong',
  run: async ({ client, args: [given = ''], out }) => {
    const api = await client()
    const path = `/devices/${await deviceId(api, given)}/deployments` as const
    out.rows(await collect(api.list(Page(PastDeploymentView), path)), columns)
  },
}
