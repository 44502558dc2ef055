import { secondsOf } from '../server/protocol/duration.ts'
import type { Rate } from '../server/rollouts/bounds-wire.ts'
import type { ApiClient } from './api.ts'
import type { Option } from './command.ts'
import { usageError } from './failure.ts'
import { groupId } from './lookup.ts'
import type { Values } from './values.ts'

export interface PhaseBounds {
  percent?: number
  count?: number
  /** A name or an id. */
  cohort?: string
  seenWithin?: string
  rate?: Rate
}

/** Whom a phase takes, as it is typed: `25`, `count=300`, `cohort=GROUP`; undefined for anything else. */
export function extentOf(text: string): PhaseBounds | undefined {
  const [word = '', ...rest] = text.split('=')
  const value = rest.join('=')
  if (word === 'count' && /^\d{1,10}$/.test(value)) return { count: Number(value) }
  if (word === 'cohort' && value !== '') return { cohort: value }
  const plain = text.replace(/%$/, '')
  return /^\d{1,9}(\.\d{1,3})?$/.test(plain) ? { percent: Number(plain) } : undefined
}

/** `seen=7d`, `rate=50/min`, `rate=50..5000/min,x2,step=1000`; undefined for anything else. */
export function phaseBoundOf(word: string, value: string): PhaseBounds | undefined {
  switch (word) {
    case 'seen': {
      const seenWithin = spanOf(value)
      return seenWithin === undefined ? undefined : { seenWithin }
    }
    case 'rate': {
      const rate = rateOf(value)
      return rate === undefined ? undefined : { rate }
    }
    default:
      return undefined
  }
}

const rateForm =
  /^(\d{1,7})(?:\.\.(\d{1,7}))?\/min(?:,x(\d(?:\.\d{1,3})?),step=(\d{1,10})(?:,(admitted|succeeded))?)?$/

function rateOf(text: string): Rate | undefined {
  const [found, base, most, factor, step, per = 'succeeded'] = rateForm.exec(text) ?? []
  if (found === undefined || (most === undefined) !== (factor === undefined)) return undefined
  if (most === undefined) return { perMinute: Number(base) }
  return {
    basePerMinute: Number(base),
    maxPerMinute: Number(most),
    factor: Number(factor),
    step: Number(step),
    per: per === 'admitted' ? 'admitted' : 'succeeded',
  }
}

function spanOf(text: string): string | undefined {
  const [, count, unit] = /^(\d{1,5})([dhm])$/.exec(text) ?? []
  if (count !== undefined) return unit === 'd' ? `P${count}D` : `PT${count}${unit?.toUpperCase()}`
  return secondsOf(text) === undefined ? undefined : text
}

/** Groups by their id, as the server wants them. */
export async function withCohortIds<P extends PhaseBounds>(
  api: ApiClient,
  phases: readonly P[],
): Promise<P[]> {
  const found: P[] = []
  for (const phase of phases) {
    const { cohort } = phase
    found.push(cohort === undefined ? phase : { ...phase, cohort: await groupId(api, cohort) })
  }
  return found
}

/** What a phase takes and how fast, for a person. */
interface Phase {
  percent: number | null
  count: number | null
  cohort: string | null
  seenWithin: string | null
  rate: Rate | null
}

export function extentText(phase: Phase): string {
  const { percent, count, cohort, seenWithin, rate } = phase
  const extent = reachOf({ percent, count, cohort })
  const seen = seenWithin === null ? '' : `, seen within ${seenWithin}`
  return `${extent}${seen}${rate === null ? '' : `, ${rateText(rate)}`}`
}

/** Of a second try and of a way back the devices are fixed when it is drafted: it has neither share nor number. */
function reachOf({ percent, count, cohort }: Pick<Phase, 'percent' | 'count' | 'cohort'>) {
  if (cohort !== null) return 'cohort'
  if (count !== null) return `first ${count}`
  return percent === null ? 'the devices of the other rollout' : `${percent}%`
}

function rateText(rate: Rate): string {
  if ('perMinute' in rate) return `${rate.perMinute}/min`
  const { basePerMinute, maxPerMinute, factor, step, per } = rate
  return `${basePerMinute}..${maxPerMinute}/min, x${factor} each ${step} ${per}`
}

export const boundOptions: Record<string, Option> = {
  priority: { type: 'string', value: 'N', about: 'where several compete, higher first (500)' },
  'max-in-flight': { type: 'string', value: 'N', about: 'so many devices at work at once' },
  'bytes-per-minute': {
    type: 'string',
    value: 'SIZE',
    about: 'what the admitted may download, such as 500M',
  },
  'pass-queue': { type: 'boolean', about: 'a security release before all others' },
}

export function boundsBody(values: Values) {
  return {
    priority: values.number('priority'),
    maxInFlight: values.number('max-in-flight'),
    bytesPerMinute: sizeOf(values.text('bytes-per-minute')),
    passQueue: values.flag('pass-queue') ? true : undefined,
  }
}

const units = { '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12 }

function sizeOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const [, count, unit = ''] = /^(\d{1,12})([kMGT]?)$/.exec(text) ?? []
  const factor = Object.entries(units).find(([name]) => name === unit)?.[1]
  if (count === undefined || factor === undefined) {
    throw usageError(`--bytes-per-minute must be a number of bytes such as 500M, not ${text}`)
  }
  return Number(count) * factor
}

/** The lines of one rollout about its bounds. */
export function boundFields(one: {
  priority: number
  maxInFlight: number | null
  bytesPerMinute: number | null
  passQueue: boolean
}): (readonly [string, string | number])[] {
  return [
    ['priority', one.passQueue ? `${one.priority}, passes the queue` : one.priority],
    ...(one.maxInFlight === null ? [] : [['in flight', `at most ${one.maxInFlight}`] as const]),
    ...(one.bytesPerMinute === null
      ? []
      : [['bytes per minute', `at most ${one.bytesPerMinute}`] as const]),
  ]
}
