import { parseDeviceQuery } from './parse.ts'
import type { DeviceQuery } from './query.ts'

const mostKept = 500
const kept = new Map<string, DeviceQuery>()

/** `parseDeviceQuery` of a text that is asked again and again; the ones used last are kept. */
export function compiledQuery(text: string): DeviceQuery {
  const known = kept.get(text)
  const query = known ?? parseDeviceQuery(text)
  // A Map keeps the order of insertion: who is used last stands last.
  kept.delete(text)
  kept.set(text, query)
  const [oldest] = kept.keys()
  if (kept.size > mostKept && oldest !== undefined) kept.delete(oldest)
  return query
}
