import { PreviewView } from '../../server/rollouts/preview-wire.ts'
import type { Command } from '../command.ts'
import { rolloutId } from '../lookup.ts'
import { bytes } from '../text.ts'

export const previewRollout: Command = {
  verb: 'preview',
  args: 'ROLLOUT',
  summary: 'Who would get it, when by estimate, why others would not, and when it would stop',
  run: async ({ client, args: [given = ''], out }) => {
    const api = await client()
    const body = { rolloutId: await rolloutId(api, given) }
    out.fields(await api.act(PreviewView, '/rollouts/preview', body), (one) => [
      ['devices', `${one.devices}${one.sampled === null ? '' : ` (${one.sampled} looked at)`}`],
      ['eligible', one.eligible],
      ...Object.entries(one.excluded).map(([reason, n]) => [`not: ${reason}`, n] as const),
      ...one.phases.map(
        ({ no, devices, says }) => [`phase ${no}`, `${devices} devices; ${says}`] as const,
      ),
      ['heard of lately', one.estimate.reachable],
      ['half done', hours(one.estimate.halfDoneHours)],
      ['95 % done', hours(one.estimate.mostDoneHours)],
      ['hour by hour', `${one.estimate.admissionsPerHour.slice(0, 24).join(', ')} admitted`],
      [
        'downloads',
        `${bytes(one.estimate.bytes)}, at most ${bytes(one.estimate.bytesPerHour)} an hour`,
      ],
      ['waits for you', one.estimate.waitsForPerson.map((no) => `after phase ${no}`).join(', ')],
      ['gets stuck', one.estimate.stopsAt && `in phase ${one.estimate.stopsAt}: too few devices`],
      ...one.stops.map(
        ({ rule, executed, failures }) =>
          ['stops', `${rule}: at ${failures ?? 'no number of'} failures of ${executed}`] as const,
      ),
    ])
  },
}

function hours(n: number | null): string {
  return n === null ? 'not within 90 days' : `after ${n} h`
}
