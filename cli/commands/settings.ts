import { readFile } from 'node:fs/promises'

import { SettingsView } from '../../server/settings/wire.ts'
import { collect } from '../collect.ts'
import type { CommandInput, Noun } from '../command.ts'
import { usageError } from '../failure.ts'
import { deviceId } from '../lookup.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'

const columns: Column<SettingsView>[] = [
  { head: 'revision', cell: (one) => one.revision },
  { head: 'state', cell: (one) => one.state },
  { head: 'since', cell: (one) => one.changedAt },
  { head: 'settings', cell: (one) => JSON.stringify(one.settings) },
  { head: 'code', cell: (one) => one.code },
  { head: 'detail', cell: (one) => one.detail },
]

export const settingsNoun: Noun = {
  noun: 'settings',
  summary: "one device's own settings, within its model's schema",
  commands: [
    {
      verb: 'list',
      args: 'DEVICE',
      summary: 'What it was told, newest first, and what became of it',
      run: async ({ client, args: [device = ''], out }) => {
        const api = await client()
        const path = `/devices/${await deviceId(api, device)}/settings` as const
        out.rows(await collect(api.list(Page(SettingsView), path)), columns)
      },
    },
    {
      verb: 'set',
      args: 'DEVICE FILE',
      summary: 'Give it the settings in a JSON file; what is not in it falls back to the fleet',
      run: set,
    },
  ],
}

async function set({ client, args: [device = '', file = ''], out }: CommandInput): Promise<void> {
  const settings = await readObject(file)
  const api = await client()
  const path = `/devices/${await deviceId(api, device)}/settings` as const
  out.fields(await api.replace(SettingsView, path, { settings }), (one) => [
    ['revision', one.revision],
    ['state', one.state],
    ['settings', JSON.stringify(one.settings)],
    ['id', one.id],
  ])
}

async function readObject(file: string): Promise<Record<string, unknown>> {
  try {
    // What is no object is refused by the server.
    return JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw usageError(`${file} holds no settings: ${why}`)
  }
}
