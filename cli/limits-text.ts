import { secondsOf } from '../server/protocol/duration.ts'
import { limitedStates } from '../server/rollouts/limits-wire.ts'
import type { RolloutView } from '../server/rollouts/wire.ts'
import type { Option } from './command.ts'
import { usageError } from './failure.ts'
import type { Values } from './values.ts'

export const limitOptions: Record<string, Option> = {
  limit: {
    type: 'string',
    multiple: true,
    value: 'STATE=SPAN',
    about: 'give a device up for lost after so long in a state, e.g. downloading=P3D',
  },
}

export function limitBody(values: Values): { limits?: Record<string, string> } {
  const given = values.texts('limit').map((text) => {
    const [state = '', span = ''] = text.split('=')
    if (!limitedStates.some((one) => one === state) || secondsOf(span) === undefined) {
      throw usageError(
        `--limit ${text} is not a limit`,
        `Write STATE=SPAN, e.g. --limit downloading=P3D; states are ${limitedStates.join(', ')}`,
      )
    }
    return [state, span] as const
  })
  return given.length > 0 ? { limits: Object.fromEntries(given) } : {}
}

export function limitFields({ limits }: Pick<RolloutView, 'limits'>): [string, string][] {
  const words = Object.entries(limits).map(([state, span]) => `${state} ${span}`)
  return words.length > 0 ? [['limits', words.join(', ')]] : []
}
