import { abortKinds } from '../server/rollouts/abort-wire.ts'
import type { RolloutView } from '../server/rollouts/wire.ts'
import type { Option } from './command.ts'
import { usageError } from './failure.ts'
import type { Values } from './values.ts'

interface Rule {
  percent: number
  minExecuted?: number
  scope?: string
  kinds?: string[]
  action?: string
}

const example =
  'Write PERCENT[:min=DEVICES][:of=phase|rollout][:kinds=KIND,…][:then=pause|cancel|rollback], e.g. --abort 2.5:min=50:then=cancel'

/** A rule as it is typed: the share at which it stops, then what it counts and what it does, e.g. `5:min=20:kinds=lost,dark`. */
export function parseAbortRule(text: string): Rule {
  const [percent = '', ...rest] = text.split(':')
  const rule: Rule = { percent: numberOf(percent, text) }
  for (const part of rest) {
    const [word = '', value = ''] = part.split('=')
    switch (word) {
      case 'min':
        rule.minExecuted = numberOf(value, text)
        break
      case 'of':
        rule.scope = oneOf(value, ['phase', 'rollout'], text)
        break
      case 'kinds':
        rule.kinds = value.split(',').map((kind) => oneOf(kind, abortKinds, text))
        break
      case 'then':
        rule.action = oneOf(value, ['pause', 'cancel', 'rollback'], text)
        break
      default:
        throw odd(text)
    }
  }
  return rule
}

function numberOf(text: string, rule: string): number {
  const plain = text.replace(/%$/, '')
  if (!/^\d{1,9}(\.\d{1,2})?$/.test(plain)) throw odd(rule)
  return Number(plain)
}

function oneOf(word: string, words: readonly string[], rule: string): string {
  if (!words.includes(word)) throw odd(rule)
  return word
}

function odd(text: string) {
  return usageError(`--abort ${text} is not a rule`, example)
}

export const abortOptions: Record<string, Option> = {
  abort: {
    type: 'string',
    multiple: true,
    value: 'PERCENT[:min=N][:of=phase][:kinds=KIND,…][:then=cancel]',
    about: 'a rule that stops it, beside the built-in ones',
  },
  'no-built-in-rules': { type: 'boolean', about: 'only the rules that are given stop it' },
}

export function abortBody(values: Values): { abort?: { defaults: boolean; rules: Rule[] } } {
  const rules = values.texts('abort').map(parseAbortRule)
  const defaults = !values.flag('no-built-in-rules')
  return rules.length > 0 || !defaults ? { abort: { defaults, rules } } : {}
}

/** Rules of one's own, for `rollout show`. */
export function abortFields({ abort }: Pick<RolloutView, 'abort'>): (readonly [string, string])[] {
  const rules = abort.rules.map(({ action, percent, minExecuted, scope, kinds }) => {
    return `${action} at ${percent}% of the ${scope}, from ${minExecuted} devices: ${kinds.join(', ')}`
  })
  if (!abort.defaults) rules.push('not by the built-in rules')
  return rules.map((rule) => ['stops', rule] as const)
}

const words: Partial<Record<NonNullable<RolloutView['waitsFor']>, string>> = {
  nothing: 'the next look of the engine',
  hold: 'a person: fleetseal rollout advance',
  devices: 'devices that it has not met or that are at work',
  contacts: 'a person: too few devices came in time',
  choices: 'owners who put it off or want none of it',
}

export function waitsForWords({ waitsFor, phase, phases }: RolloutView): string | null {
  const open = phases.find(({ no }) => no === phase)
  if (waitsFor === 'executed' && open) {
    return `devices that come to an end: ${open.executed} of at least ${open.success.minExecuted} did`
  }
  if (waitsFor === 'share' && open) {
    return `more that succeed: ${open.succeeded} of ${open.executed} did, and ${open.success.percent} % are needed`
  }
  if (waitsFor === 'soak' && open?.soakUntil) return `soak, until ${open.soakUntil}`
  return waitsFor && (words[waitsFor] ?? waitsFor)
}
