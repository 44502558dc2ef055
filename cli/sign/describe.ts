import { componentOf } from '../../pki/tuf/publish-check.ts'
import type { ImageTarget, RootMetadata, TargetsMetadata } from '../../pki/tuf/types.ts'
import { sha256Of } from './sha256.ts'

/*
 * What a draft changes, in words, for the person who is about to sign it. The words come first; after them every field
 * that differs, whatever its name, so that nothing can be signed unseen. All text is printable ASCII by the rules of
 * metadata, so it cannot play tricks with the terminal.
 */
type Value = unknown

/** Lines for a model role, `targets` or `root`; `before` is absent for a first version. */
export function describeChange(role: string, before: Value, after: Value): string[] {
  const words =
    role === 'root'
      ? describeRoot(before as RootMetadata | undefined, after as RootMetadata)
      : [
          ...describeBuilds(before as TargetsMetadata | undefined, after as TargetsMetadata),
          ...describeDelegations(before as TargetsMetadata | undefined, after as TargetsMetadata),
        ]
  return [...words, ...describeFields(before, after).map((line) => `  ${line}`)]
}

function describeBuilds(before: TargetsMetadata | undefined, after: TargetsMetadata): string[] {
  const old = new Map(Object.entries(before?.targets ?? {}))
  const fresh = new Map(Object.entries(after.targets))
  const added = [...fresh].filter(([path]) => !old.has(path))
  const removed = [...old].filter(([path]) => !fresh.has(path))
  return [
    ...added.map(([path, target]) => `ADDS ${describeBuild(path, target)}`),
    ...removed.map(([path, target]) => `WITHDRAWS ${describeBuild(path, target)}`),
    ...describeCounters(old, fresh),
    ...[...fresh].flatMap(([path, target]) => {
      const was = old.get(path)
      return was && JSON.stringify(was) !== JSON.stringify(target) ? [`CHANGES ${path}`] : []
    }),
  ]
}

function describeBuild(path: string, { length, hashes, custom }: ImageTarget): string {
  const { match } = custom
  return [
    `${componentOf(path)} ${match.version ?? ''} for ${match.model} (${match.hardwareIds.join(', ')})`,
    `build ${match.build}`,
    `security version ${match.svn}`,
    `class ${match.class}`,
    ...(match.fixes ? [`fixes ${match.fixes.join(', ')}`] : []),
    ...(match.minPrev === undefined ? [] : [`from build ${match.minPrev}`]),
    ...Object.entries(match.requires ?? {}).map(([name, build]) => `needs ${name} ${build}`),
    `${length} bytes`,
    `SHA-256 ${hashes['sha256'] ?? 'none'}`,
  ].join(', ')
}

type Builds = ReadonlyMap<string, ImageTarget>

/** A raised counter bars the way back for ever: it gets a line of its own. */
function describeCounters(old: Builds, fresh: Builds): string[] {
  const before = highestSvn(old)
  return [...highestSvn(fresh)].flatMap(([component, svn]) => {
    const was = before.get(component)
    return was === undefined || was === svn
      ? []
      : [`SECURITY VERSION of ${component} goes from ${was} to ${svn}`]
  })
}

function highestSvn(builds: Builds): Map<string, number> {
  const highest = new Map<string, number>()
  for (const [path, { custom }] of builds) {
    const component = componentOf(path)
    highest.set(component, Math.max(custom.match.svn, highest.get(component) ?? 0))
  }
  return highest
}

function describeDelegations(
  before: TargetsMetadata | undefined,
  after: TargetsMetadata,
): string[] {
  const old = new Map(before?.delegations?.roles.map((role) => [role.name, role]))
  const fresh = new Map(after.delegations?.roles.map((role) => [role.name, role]))
  const gone = [...old.keys()].filter((name) => !fresh.has(name))
  return [
    ...[...fresh].flatMap(([name, { paths, 'x-pq': pq, ...signers }]) => {
      const was = old.get(name)
      return [
        ...(was ? [] : [`DELEGATES ${name}, paths ${paths.join(', ')}`]),
        ...describeSigners(name, was, signers),
        ...(pq ? describeSigners(`${name} (post-quantum)`, was?.['x-pq'], pq) : []),
        ...(was?.['x-pq'] && !pq ? [`${name} LOSES ITS POST-QUANTUM KEYS`] : []),
      ]
    }),
    ...gone.map((name) => `NO LONGER DELEGATES ${name}`),
  ]
}

function describeRoot(before: RootMetadata | undefined, after: RootMetadata): string[] {
  const lines = after['x-evaluation'] === true ? ['EVALUATION KEYS'] : []
  for (const [name, signers] of Object.entries(after.roles)) {
    const was = Object.entries(before?.roles ?? {}).find(([role]) => role === name)?.[1]
    lines.push(...describeSigners(name, was, signers))
  }
  const hybrid = Object.entries(after['x-pq-roles'] ?? {})
  for (const [name, signers] of hybrid) {
    const was = Object.entries(before?.['x-pq-roles'] ?? {}).find(([role]) => role === name)?.[1]
    lines.push(...describeSigners(`${name} (post-quantum)`, was, signers))
  }
  if (after['x-pq-required'] === true && before?.['x-pq-required'] !== true) {
    lines.push('POST-QUANTUM SIGNATURES ARE REQUIRED from here on: no device will ever go back')
  }
  return lines
}

interface Signers {
  keyids: string[]
  threshold: number
}

function describeSigners(name: string, before: Signers | undefined, after: Signers): string[] {
  const old = before?.keyids ?? []
  const lines = [
    ...after.keyids.filter((id) => !old.includes(id)).map((id) => `NEW KEY for ${name}: ${id}`),
    ...old.filter((id) => !after.keyids.includes(id)).map((id) => `RETIRES KEY of ${name}: ${id}`),
  ]
  if (before?.threshold !== after.threshold) {
    const was = before ? ` instead of ${before.threshold}` : ''
    lines.push(`${name} NEEDS ${after.threshold} of ${after.keyids.length} signatures${was}`)
  }
  return lines
}

/** Every member that differs, as `path: before -> after`. */
export function describeFields(before: Value, after: Value): string[] {
  const old = fieldsOf(before)
  const fresh = fieldsOf(after)
  const names = [...new Set([...old.keys(), ...fresh.keys()])].sort()
  return names.flatMap((name) => {
    const was = old.get(name)
    const is = fresh.get(name)
    return was === is ? [] : [`${name}: ${shown(was)} -> ${shown(is)}`]
  })
}

const maxShown = 200

/** A post-quantum key fills a screen: its length and hash say as well that it differs. */
function shown(value: string | undefined): string {
  if (value === undefined) return '(nothing)'
  if (value.length <= maxShown) return value
  const sha256 = sha256Of(Buffer.from(value))
  return `${value.slice(0, 64)}... (${value.length} characters, SHA-256 ${sha256})`
}

/** Members without members of their own, by where they stand. */
function fieldsOf(value: Value, where: readonly string[] = []): Map<string, string> {
  const isTree = typeof value === 'object' && value !== null && Object.keys(value).length > 0
  if (!isTree)
    return value === undefined ? new Map() : new Map([[where.join(' '), JSON.stringify(value)]])
  return new Map(
    Object.entries(value).flatMap(([name, member]) => [...fieldsOf(member, [...where, name])]),
  )
}
