import type { DeviceView } from '../../server/devices/wire.ts'
import { PenaltyView } from '../../server/rollouts/penalty-wire.ts'
import type { Command } from '../command.ts'
import { deviceId } from '../lookup.ts'

/** A device that failed is left alone for a day, and never offered again what it rolled back from. */
export const liftPenalty: Command = {
  verb: 'lift-penalty',
  args: 'DEVICE',
  summary: 'Offer it updates again before its day after a failure is over',
  options: {
    reason: { type: 'string', value: 'TEXT', about: 'why; kept in the audit trail (needed)' },
    'rolled-back': { type: 'boolean', about: 'also the builds that it rolled back from' },
  },
  run: async ({ client, args: [device = ''], values, out }) => {
    const reason = values.needed('reason')
    const body = { action: 'lift', reason, rolledBack: values.flag('rolled-back') }
    const api = await client()
    const path = `/devices/${await deviceId(api, device)}/penalty/actions` as const
    out.fields(await api.act(PenaltyView, path, body), (one) => penaltyFields({ penalty: one }))
  },
}

const why = { failed: 'an update failed', tries: 'five tries within a day' }

export function penaltyFields({
  penalty,
}: Pick<DeviceView, 'penalty'>): (readonly [string, string])[] {
  if (!penalty) return []
  const { until, rolledBackFrom } = penalty
  const builds = rolledBackFrom.map(({ component, version }) => `${component} ${version}`)
  return [
    ['no offers until', until === null ? '-' : `${until} (${why[penalty.why ?? 'failed']})`],
    ['never again', builds.length === 0 ? '-' : builds.join(', ')],
  ]
}
