import { secondsOf } from '../server/protocol/duration.ts'
import { usageError } from './failure.ts'
import { extentOf, phaseBoundOf, type PhaseBounds } from './phase-bounds.ts'

export interface Phase extends PhaseBounds {
  success?: {
    percent?: number
    minExecuted?: number
    soak?: string
    maxPutOff?: number
    within?: string
  }
  hold?: boolean
}

/**
 * A phase as it is typed: whom it takes (phase-bounds.ts), then what must hold before the next one opens, e.g. `10`,
 * `10:hold`, `25:success=95:min=20`.
 */
export function parsePhase(text: string): Phase {
  const [whom = '', ...rest] = text.split(':')
  const extent = extentOf(whom)
  if (!extent) throw odd(text)
  const phase: Phase = { ...extent }
  for (const part of rest) {
    const [word = '', value = ''] = part.split('=')
    switch (word) {
      case 'hold':
        phase.hold = true
        break
      case 'success':
        phase.success = { ...phase.success, percent: numberOf(value, text) }
        break
      case 'min':
        phase.success = { ...phase.success, minExecuted: numberOf(value, text) }
        break
      case 'soak':
      case 'within':
        phase.success = { ...phase.success, [word]: spanOf(value, text) }
        break
      case 'put-off':
        phase.success = { ...phase.success, maxPutOff: numberOf(value, text) }
        break
      default: {
        const bound = phaseBoundOf(word, part.slice(word.length + 1))
        if (!bound) throw odd(text)
        Object.assign(phase, bound)
      }
    }
  }
  return phase
}

function numberOf(text: string, phase: string): number {
  const plain = text.replace(/%$/, '')
  if (!/^\d{1,9}(\.\d{1,3})?$/.test(plain)) throw odd(phase)
  return Number(plain)
}

/** Of a day also `1d`, as everywhere on this command line; what it means is the server's to say. */
function spanOf(text: string, phase: string): string {
  const short = /^(\d{1,5})([dhm])$/.exec(text)
  if (short) return short[2] === 'd' ? `P${short[1]}D` : `PT${short[1]}${short[2]?.toUpperCase()}`
  if (secondsOf(text) === undefined) throw odd(phase)
  return text
}

function odd(text: string) {
  return usageError(
    `--phase ${text} is not a phase`,
    'Write PERCENT, count=N or cohort=GROUP, then [:success=PERCENT][:min=DEVICES][:soak=SPAN][:put-off=PERCENT][:within=SPAN][:seen=SPAN][:rate=N/min][:hold], e.g. --phase 5:hold --phase 50:success=95:min=10 --phase 100',
  )
}
