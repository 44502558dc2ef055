import type { TargetKind } from './types.ts'

const kinds = new Map<string, TargetKind>([
  ['fw', 'firmware'],
  ['cfg', 'config'],
  ['cfgschema', 'cfgschema'],
])

/** What a path alone says: `fw/<model>/<version>/<component>.<ext>` (updates.md 2.4). Absent where it says nothing. */
export interface PathFacts {
  kind?: TargetKind
  model?: string
  version?: string
  component: string
}

/** Reads the path of a target; any text may be given. */
export function factsOfPath(path: string): PathFacts {
  const [prefix = '', model, version, file = ''] = path.split('/')
  const kind = kinds.get(prefix)
  return {
    component: file.split('.', 1)[0] ?? '',
    ...(kind && { kind }),
    ...(model !== undefined && { model }),
    ...(version !== undefined && { version }),
  }
}

/** Components whose content is settings or what bounds them, by the kind that may go there (updates.md 2.3, 2.4). */
const settingsKinds = new Map<string, TargetKind>([
  ['config', 'config'],
  ['overrides', 'config'],
  ['cfgschema', 'cfgschema'],
])

/** Whether a path may be for a component: no settings where an image belongs, and no image where settings belong. */
export function isPlaceFor({ kind, component: named }: PathFacts, component: string): boolean {
  const settings = settingsKinds.get(component)
  return kind === 'firmware' ? settings === undefined && named === component : settings === kind
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
