import { deviceStates } from '../devices/state.ts'
import type { Field } from './query.ts'

const named: Record<string, Field> = {
  id: { type: 'text', name: 'id' },
  name: { type: 'text', name: 'name' },
  serialNumber: { type: 'text', name: 'serialNumber' },
  model: { type: 'text', name: 'model' },
  state: { type: 'text', name: 'state' },
  agent: { type: 'text', name: 'agent' },
  enrollmentProfile: { type: 'text', name: 'enrollmentProfile' },
  connected: { type: 'flag', name: 'connected' },
  updateOptOut: { type: 'flag', name: 'updateOptOut' },
  managed: { type: 'flag', name: 'managed' },
  lastSeen: { type: 'instant', name: 'lastSeen' },
  created: { type: 'instant', name: 'created' },
  'certificate.expires': { type: 'instant', name: 'certificate.expires' },
  group: { type: 'set', name: 'group' },
  hardwareIds: { type: 'set', name: 'hardwareIds' },
}

export const fieldNames = [
  ...Object.keys(named),
  'attributes.<key>',
  'installed.<component>',
  'installed.<component>.build',
  'installed.<component>.svn',
]

/** The field that a path names (`['installed', 'app', 'build']`); undefined when there is none. */
export function fieldOf(path: readonly string[]): Field | undefined {
  const [first, second, third, ...more] = path
  if (first === 'attributes') {
    return second !== undefined && third === undefined
      ? { type: 'attribute', key: second }
      : undefined
  }
  if (first === 'installed') {
    if (second === undefined || more.length > 0) return undefined
    if (third === undefined) return { type: 'version', component: second }
    return third === 'build' || third === 'svn'
      ? { type: 'number', component: second, of: third }
      : undefined
  }
  const name = path.join('.')
  return Object.hasOwn(named, name) ? named[name] : undefined
}

/** What values a field of text can have at all, when that is a closed list: a wrong one is a mistake, not an empty answer. */
export function closedList(field: Field): readonly string[] | undefined {
  return field.type === 'text' && field.name === 'state' ? deviceStates : undefined
}
