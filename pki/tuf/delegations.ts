import { readTargets } from './read.ts'
import { keep, limits, openListed, refuse, requireFresh, type Run, sent } from './repository.ts'
import type {
  Delegation,
  Delegations,
  ImageTarget,
  Instant,
  SnapshotMetadata,
  TargetsMetadata,
} from './types.ts'

interface Search {
  snapshot: SnapshotMetadata
  targets: TargetsMetadata
  time: Instant
}

interface Step {
  delegation: Delegation
  keys: Delegations['keys']
}

/**
 * Step 6, last part: what the image repository says about a path, searched through the delegations in pre-order, each
 * role once, at most 32 (TUF 5.6.7). Undefined when nobody who may speak for the path does.
 */
export function findTarget(run: Run, path: string, search: Search): ImageTarget | undefined {
  const visited = new Set<string>()
  let pending: Step[] = []
  let speaker = search.targets
  for (;;) {
    if (Object.hasOwn(speaker.targets, path)) return speaker.targets[path]
    const next = stepsFrom(speaker, path)
    // A terminating role has the last word: whatever was waiting behind it is not asked.
    pending = next.at(-1)?.delegation.terminating === true ? next : [...next, ...pending]
    // A role that was asked before is not asked again, so a cycle ends.
    const found = pending.findIndex(({ delegation }) => !visited.has(delegation.name))
    const step = pending[found]
    if (!step) return undefined
    if (visited.size === limits.delegated) refuse('endless-data', 'Too many delegated roles')
    visited.add(step.delegation.name)
    pending = pending.slice(found + 1)
    speaker = openDelegated(run, step, search)
  }
}

/** The roles a targets file names for a path, in order, none behind the first terminating one. */
function stepsFrom({ delegations }: TargetsMetadata, path: string): Step[] {
  if (!delegations) return []
  const { keys, roles } = delegations
  const matching = roles.filter(({ paths }) => paths.some((pattern) => pathMatches(pattern, path)))
  const last = matching.findIndex(({ terminating }) => terminating)
  return matching
    .slice(0, last < 0 ? matching.length : last + 1)
    .map((delegation) => ({ delegation, keys }))
}

/** A stored copy is verified like a sent one: against the current delegator (updates.md 3.4). */
function openDelegated(run: Run, step: Step, { snapshot, time }: Search): TargetsMetadata {
  const { delegation, keys } = step
  const { name } = delegation
  const { delegated } = run.state.image
  const listed = Object.hasOwn(snapshot.meta, `${name}.json`)
    ? snapshot.meta[`${name}.json`]
    : undefined
  const stored = Object.hasOwn(delegated, name) ? delegated[name] : undefined
  const text = sent(run, 'image', `${listed?.version}.${encodeURIComponent(name)}.json`) ?? stored
  const targets = openListed(text, listed, { keys, role: delegation, read: readTargets })
  requireFresh(targets.expires, time, name)
  if (text !== undefined) keep(run, 'image', { delegated: { ...delegated, [name]: text } })
  return targets
}

/** Whether a delegation's pattern covers a path: `*` and `?` never cross `/` (TUF 1.0.34 section 4.5). */
export function pathMatches(pattern: string, path: string): boolean {
  const patterns = pattern.split('/')
  const segments = path.split('/')
  return (
    patterns.length === segments.length &&
    patterns.every((part, index) => segmentMatches(part, segments[index] ?? ''))
  )
}

/** Goes back to the last `*` only, so that the cost stays at pattern × text; a regular expression may explode. */
function segmentMatches(pattern: string, text: string): boolean {
  let p = 0
  let star = -1
  let resume = 0
  for (let t = 0; t < text.length;) {
    if (pattern[p] === '*') {
      star = p
      resume = t
      p += 1
    } else if (pattern[p] === '?' || pattern[p] === text[t]) {
      p += 1
      t += 1
    } else if (star >= 0) {
      resume += 1
      p = star + 1
      t = resume
    } else {
      return false
    }
  }
  return /^\**$/.test(pattern.slice(p))
}
