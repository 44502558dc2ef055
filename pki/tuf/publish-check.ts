import { canonicalize } from './canonical.ts'
import { MetadataError } from './errors.ts'
import { type JsonValue, parseStrict } from './json.ts'
import { keyIdentity, publicKeyOf, type TufKey } from './keys.ts'
import { pathMatches } from './paths.ts'
import { isPqRequired, meetsSigners, pqFaults, rootSigners } from './post-quantum.ts'
import { namePattern, readRoot, readTargets } from './read.ts'
import { limits } from './repository.ts'
import { toInstant } from './time.ts'
import type {
  Delegation,
  Envelope,
  ImageTarget,
  Instant,
  RoleKeys,
  TargetsMetadata,
} from './types.ts'

/*
 * What can be asked of a new metadata version without a database, before it is published (updates.md 3.2). Each check
 * gives all that is wrong, not the first; an empty list means it may go on to the other checks.
 */
export type PublishFault =
  | 'format'
  | 'version'
  | 'expiry'
  | 'signatures'
  | 'keys'
  | 'evaluation'
  | 'delegation'
  | 'path'
  | 'model'
  | 'hardware'
  | 'build'
  | 'svn'
  | 'fixes'

export interface PublishProblem {
  fault: PublishFault
  detail: string
}

/** How long a version of each role may live, in days (updates.md 2.2). */
export const maxLifetimeDays = {
  root: 365,
  targets: 180,
  model: 90,
  snapshot: 7,
  timestamp: 1,
} as const

/** What was ever published of one component, also of builds that are no longer listed. */
export interface Highest {
  build: number
  svn: number
}

export interface ModelDraft {
  /** The new version's canonical `signed`. */
  signed: Buffer
  /** `signed` of the version that is published now; absent for the first. */
  previous?: Buffer
  model: string
  /** What the published `targets` delegates to this role. */
  delegation: Delegation
  /** Those of the model. */
  hardwareIds: readonly string[]
  /** By component. */
  highest: ReadonlyMap<string, Highest>
  now: Date
}

/** `fw-<model>` and `cfg-<model>`: builds added, kept or withdrawn. */
export function checkModelDraft(draft: ModelDraft): PublishProblem[] {
  return collect((report) => {
    const targets = readSigned(draft.signed, readTargets)
    const previous = draft.previous && readSigned(draft.previous, readTargets)
    checkVersion(report, targets, {
      previous,
      days: maxLifetimeDays.model,
      now: draft.now,
      maySkip: maxSkipped,
    })
    if (targets.delegations) report('delegation', 'A model role may not delegate further')
    const builds = new Set<string>()
    for (const [path, target] of Object.entries(targets.targets)) {
      const { match } = target.custom
      checkTarget(report, path, { target, draft })
      const build = `${componentOf(path)} ${match.build}`
      if (builds.has(build)) report('build', `${build} is listed twice`)
      builds.add(build)
      const before = ownEntry(previous?.targets, path)
      if (!before) checkNewBuild(report, path, { target, draft })
      else if (!canonicalize(before).equals(canonicalize(target))) {
        report('path', `${path} is published already and may not change`)
      }
    }
  })
}

function checkTarget(
  report: Report,
  path: string,
  { target, draft }: { target: ImageTarget; draft: ModelDraft },
): void {
  const { match } = target.custom
  if (!draft.delegation.paths.some((pattern) => pathMatches(pattern, path))) {
    report('path', `${path} is outside of what ${draft.delegation.name} may sign`)
  }
  const [prefix, model, version, file = ''] = path.split('/')
  const kinds: Record<string, string> = { fw: 'firmware', cfg: 'config', cfgschema: 'cfgschema' }
  if (kinds[prefix ?? ''] !== match.kind) report('path', `${path} is no place for ${match.kind}`)
  if (model !== draft.model || match.model !== draft.model) {
    report('model', `${path} is not of model ${draft.model}`)
  }
  if (match.kind === 'firmware' && match.version !== version) {
    report('path', `${path} is not version ${match.version}`)
  }
  if (!/^[a-z0-9][a-z0-9-]{0,31}\.[a-z0-9][a-z0-9.]{0,15}$/.test(file)) {
    report('path', `${path} does not end in component.extension`)
  }
  for (const id of match.hardwareIds) {
    if (!draft.hardwareIds.includes(id))
      report('hardware', `${id} is no hardware of ${draft.model}`)
  }
  if (match.class === 'security' && (match.fixes ?? []).length === 0) {
    report('fixes', `${path} is a security release that names no fixes`)
  }
  // A device compares `requires` with components it knows by these names only.
  if (match.requires && Object.hasOwn(match.requires, componentOf(path))) {
    report('build', `${path} requires itself`)
  }
}

function checkNewBuild(
  report: Report,
  path: string,
  { target, draft }: { target: ImageTarget; draft: ModelDraft },
): void {
  const { build, svn } = target.custom.match
  const highest = draft.highest.get(componentOf(path))
  if (!highest) return
  if (build <= highest.build) report('build', `${path}: build ${build} after ${highest.build}`)
  if (svn < highest.svn) report('svn', `${path}: security version ${svn} after ${highest.svn}`)
}

/** The component a firmware path is for: `fw/<model>/<version>/<component>.<ext>` (updates.md 2.4). */
export function componentOf(path: string): string {
  return path.split('/').at(-1)?.split('.', 1)[0] ?? ''
}

/** Image `targets`: delegations only, one terminating role per model and kind. */
export function checkTargetsDraft(draft: {
  signed: Buffer
  previous?: Buffer
  /** The root asks for post-quantum signatures of every role. */
  pqRequired?: boolean
  now: Date
}): PublishProblem[] {
  return collect((report) => {
    const targets = readSigned(draft.signed, readTargets)
    const previous = draft.previous && readSigned(draft.previous, readTargets)
    checkVersion(report, targets, {
      previous,
      days: maxLifetimeDays.targets,
      now: draft.now,
      maySkip: maxSkipped,
    })
    if (Object.keys(targets.targets).length > 0) report('path', 'targets lists images itself')
    const { keys, roles } = targets.delegations ?? { keys: {}, roles: [] }
    const names = new Set<string>()
    for (const role of roles) {
      if (names.has(role.name)) report('delegation', `${role.name} is delegated twice`)
      names.add(role.name)
      checkDelegation(report, role)
      checkSigners(report, role.name, { role, keys })
      const pq = { keys: targets['x-pq-keys'], role: role['x-pq'] }
      for (const fault of pqFaults(role.name, pq, draft.pqRequired === true)) report('keys', fault)
    }
  })
}

function checkDelegation(report: Report, { name, paths, terminating }: Delegation): void {
  const [, kind = '', model = ''] = /^(fw|cfg)-(.*)$/.exec(name) ?? []
  const prefixes: Record<string, string[]> = { fw: ['fw'], cfg: ['cfg', 'cfgschema'] }
  const expected = prefixes[kind]?.map((prefix) => `${prefix}/${model}/*/*`)
  if (!expected || !namePattern.test(model)) {
    report('delegation', `${name} is not the name of a model role`)
  } else if (expected.join(' ') !== [...paths].sort().join(' ')) {
    report('delegation', `${name} may sign ${expected.join(' and ')} and nothing else`)
  }
  if (!terminating) report('delegation', `${name} is not terminating`)
}

/** A threshold nobody can reach would lock the role; one key under two ids would lower it. */
function checkSigners(
  report: Report,
  name: string,
  { role, keys }: { role: RoleKeys; keys: Readonly<Record<string, TufKey>> },
): void {
  const known = role.keyids.flatMap((keyid) => {
    const key = ownEntry(keys, keyid)
    const publicKey = key && publicKeyOf(key)
    return publicKey ? [keyIdentity(publicKey)] : []
  })
  if (known.length !== role.keyids.length) report('keys', `${name} has a key that cannot be used`)
  if (new Set(known).size !== known.length) report('keys', `${name} has one key twice`)
  if (new Set(known).size < role.threshold) report('keys', `${name} has too few keys to be signed`)
}

/** A root of either repository with its signatures: old and new thresholds both met. */
export function checkRoot({
  envelope,
  previous,
  now,
}: {
  envelope: Envelope
  previous?: Envelope
  now: Date
}): PublishProblem[] {
  const signed = envelope.signedBytes
  const before = previous?.signedBytes
  return [
    ...checkRootDraft({ signed, ...(before && { previous: before }), now }),
    ...collect((report) => {
      const roots = [signed, ...(before ? [before] : [])].map((bytes) =>
        readSigned(bytes, readRoot),
      )
      if (roots.some((root) => !meetsSigners(envelope, rootSigners(root)))) {
        report('signatures', 'Too few signatures of root keys, old or new')
      }
    }),
  ]
}

/** A root before it is signed. */
export function checkRootDraft({
  signed,
  previous,
  now,
}: {
  signed: Buffer
  previous?: Buffer
  now: Date
}): PublishProblem[] {
  return collect((report) => {
    const root = readSigned(signed, readRoot)
    const before = previous && readSigned(previous, readRoot)
    checkVersion(report, root, { previous: before, days: maxLifetimeDays.root, now })
    if (before && (before['x-evaluation'] === true) !== (root['x-evaluation'] === true)) {
      report('evaluation', 'A root chain may not join evaluation and production')
    }
    for (const [name, role] of Object.entries(root.roles)) {
      checkSigners(report, name, { role, keys: root.keys })
    }
    if (before && isPqRequired(before) && !isPqRequired(root)) {
      report('keys', 'Post-quantum signatures were required, and devices never go back')
    }
    const hybrid = Object.entries({ root: undefined, ...root['x-pq-roles'] })
    for (const [name, role] of hybrid) {
      const pq = { keys: root['x-pq-keys'], role }
      for (const fault of pqFaults(name, pq, isPqRequired(root))) report('keys', fault)
    }
    if (!root.consistent_snapshot) report('format', 'consistent_snapshot is off')
  })
}

/**
 * A draft that another replaced may have been signed offline already, and no key signs two texts under one number: the
 * next draft takes the number after it. Devices ask only that versions rise; a root's must rise by one (TUF 5.3.5).
 */
const maxSkipped = 10_000

/** The latest a draft of this role, built now, may expire. */
export function latestExpiry(role: keyof typeof maxLifetimeDays, now: Date): Date {
  return new Date(now.getTime() + maxLifetimeDays[role] * 86_400_000)
}

type Report = (fault: PublishFault, detail: string) => void

function collect(check: (report: Report) => void): PublishProblem[] {
  const problems: PublishProblem[] = []
  try {
    check((fault, detail) => problems.push({ fault, detail }))
  } catch (error) {
    if (!(error instanceof MetadataError)) throw error
    problems.push({ fault: 'format', detail: error.message })
  }
  return problems
}

/** The string and integer rules, the shape, the depth, and that the bytes are canonical (updates.md 2.1). */
function readSigned<T>(signed: Buffer, read: (value: JsonValue) => T): T {
  const value = parseStrict(signed, limits.bundle)
  if (!canonicalize(value).equals(signed)) throw new MetadataError('syntax', 'Not canonical')
  // The file is one level deeper than what is signed.
  if (depthOf(value) > 7) throw new MetadataError('too-deep', 'Nested deeper than 8')
  return read(value)
}

function depthOf(value: JsonValue): number {
  if (typeof value !== 'object') return 0
  return 1 + Math.max(0, ...Object.values(value).map(depthOf))
}

function checkVersion(
  report: Report,
  { version, expires }: { version: number; expires: Instant },
  known: {
    previous: Pick<TargetsMetadata, 'version'> | undefined
    days: number
    now: Date
    maySkip?: number
  },
): void {
  const next = (known.previous?.version ?? 0) + 1
  // Nothing before it means version 1: a later one would only hide what came before.
  const maySkip = known.previous ? (known.maySkip ?? 0) : 0
  if (version < next || version > next + maySkip) {
    report('version', `Version ${version} where ${next} is next`)
  }
  const latest = toInstant(new Date(known.now.getTime() + known.days * 86_400_000))
  if (expires <= toInstant(known.now)) report('expiry', `Expired at ${expires}`)
  if (expires > latest)
    report('expiry', `Expires at ${expires}, at the latest ${latest} is allowed`)
}

function ownEntry<T>(object: Readonly<Record<string, T>> | undefined, name: string): T | undefined {
  return object && Object.hasOwn(object, name) ? object[name] : undefined
}
