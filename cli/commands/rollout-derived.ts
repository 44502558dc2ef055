import { NoWayBackView, RollbackView } from '../../server/rollouts/derived-wire.ts'
import { RolloutView } from '../../server/rollouts/wire.ts'
import { collect } from '../collect.ts'
import type { Command, CommandInput, Option } from '../command.ts'
import { rolloutId } from '../lookup.ts'
import { Page } from '../page.ts'
import { showRollout } from '../rollout-fields.ts'
import type { Column } from '../table.ts'

const options: Record<string, Option> = {
  name: { type: 'string', value: 'TEXT', about: "of the new one (made of the other's)" },
  start: { type: 'boolean', about: 'start it at once' },
}

/** Rollouts that are made of another one. */
export const derivedCommands: readonly Command[] = [
  {
    verb: 'retry',
    args: 'ROLLOUT',
    summary: 'Draft a rollout of the same release for the devices that failed',
    options,
    run: derive('retry'),
  },
  {
    verb: 'rollback',
    args: 'ROLLOUT',
    summary: 'Draft a rollout that gives its devices back what they had before it',
    options: {
      ...options,
      preview: { type: 'boolean', about: 'only say what it would do, and which devices cannot' },
      devices: { type: 'boolean', about: 'only list the devices that cannot go back' },
    },
    run: async (input) => {
      if (input.values.flag('preview')) await preview(input)
      else if (input.values.flag('devices')) await listDevices(input)
      else await derive('rollback')(input)
    },
  },
]

function derive(what: 'retry' | 'rollback') {
  return async ({ client, args: [given = ''], values, out }: CommandInput) => {
    const api = await client()
    const path = `/rollouts/${await rolloutId(api, given)}/${what}` as const
    const name = values.text('name')
    const draft = await api.create(RolloutView, path, name === undefined ? {} : { name })
    const rollout = values.flag('start')
      ? await api.act(RolloutView, `/rollouts/${draft.id}/actions`, { action: 'start' })
      : draft
    showRollout(out, rollout)
  }
}

async function preview({ client, args: [given = ''], out }: CommandInput): Promise<void> {
  const api = await client()
  const path = `/rollouts/${await rolloutId(api, given)}/rollback` as const
  out.fields(await api.get(RollbackView, path), (one) => [
    ['devices', one.devices],
    ...one.back.map(
      ({ component, version, build, devices }) =>
        ['back to', `${component} ${version} (build ${build}): ${devices}`] as const,
    ),
    ...one.cannot.map(
      ({ reason, devices, remedy }) => ['cannot', `${devices} ${reason}: ${remedy}`] as const,
    ),
  ])
}

const columns: Column<NoWayBackView>[] = [
  { head: 'device', cell: (one) => one.deviceId },
  { head: 'reason', cell: (one) => one.reason },
  { head: 'had', cell: (one) => one.releaseId },
]

async function listDevices({ client, args: [given = ''], out }: CommandInput): Promise<void> {
  const api = await client()
  const path = `/rollouts/${await rolloutId(api, given)}/rollback/devices` as const
  out.rows(await collect(api.list(Page(NoWayBackView), path)), columns)
}
