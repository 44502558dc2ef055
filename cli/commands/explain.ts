import { ExplanationView } from '../../server/rollouts/explain-wire.ts'
import { collect } from '../collect.ts'
import type { Command } from '../command.ts'
import { deviceId, rolloutId } from '../lookup.ts'
import { Page } from '../page.ts'

export const explainRollout: Command = {
  verb: 'explain',
  args: 'ROLLOUT DEVICE',
  summary: 'Why a device does or does not get it, and what would change that',
  run: async ({ client, args: [rollout = '', device = ''], out }) => {
    const api = await client()
    const of = `/devices/${await deviceId(api, device)}/explanation` as const
    const path = `/rollouts/${await rolloutId(api, rollout)}${of}` as const
    out.fields(await api.get(ExplanationView, path), (one) => [
      ['rollout', one.rolloutName],
      ['answer', `${one.code}: ${one.words}`],
      ['until', one.until],
      ['change', one.change],
      ['path', one.path.map(({ version, build }) => `${version} (${build})`).join(', ')],
      ['deployment', one.deployment && `${one.deployment.state} ${one.deployment.id}`],
      ...Object.entries(one.facts)
        .filter(([, value]) => value !== null && value !== undefined)
        .map(([name, value]) => [inWords(name), said(value)] as const),
    ])
  },
}

export const explainDevice: Command = {
  verb: 'explain',
  args: 'DEVICE',
  summary: 'The rollouts that concern a device, and why it does or does not get what they give',
  run: async ({ client, args: [device = ''], out }) => {
    const api = await client()
    const path = `/devices/${await deviceId(api, device)}/explanations` as const
    out.rows(await collect(api.list(Page(ExplanationView), path)), [
      { head: 'rollout', cell: (one) => one.rolloutName },
      { head: 'code', cell: (one) => one.code },
      { head: 'until', cell: (one) => one.until },
      { head: 'answer', cell: (one) => one.words },
    ])
  },
}

/** `lastSeenAt` as people write it. */
function inWords(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).replace(/ at$/, '')
}

function said(value: unknown): string {
  if (Array.isArray(value)) return value.map(said).join('; ')
  if (typeof value !== 'object' || value === null) return String(value)
  return Object.entries(value)
    .filter(([, one]) => one !== null)
    .map(([name, one]) => `${inWords(name)} ${said(one)}`)
    .join(', ')
}
