import { oids } from '../der/oids.ts'
import type { DerReader } from '../der/reader.ts'
import { primitive, tags } from '../der/tags.ts'
import { PkiError } from '../errors.ts'
import { readExtension } from './extensions.ts'
import type { Certificate } from './parse.ts'

const anyPolicy = '2.5.29.32.0'
/** Far above what is in use, and what keeps one step to some thousand look-ups. */
const maxPolicies = 64
const maxMappings = 64

/** What one certificate says of policies (RFC 5280 §4.2.1.4, §4.2.1.5, §4.2.1.11, §4.2.1.14). */
interface PolicyExtensions {
  readonly policies: ReadonlySet<string> | undefined
  /** Subject policies by issuer policy. */
  readonly mappings: ReadonlyMap<string, ReadonlySet<string>> | undefined
  readonly requireExplicitPolicy: number | undefined
  readonly inhibitPolicyMapping: number | undefined
  readonly inhibitAnyPolicy: number | undefined
}

/**
 * Whether the policies of a path hold (RFC 5280 §6.1 with the initial any-policy set and no initial inhibitions). As every
 * policy is welcome, it is enough to know which ones are left at each depth: one map instead of a tree, so that no path can
 * make it grow (RFC 9618).
 *
 * @param path leaf first, without the anchor
 * @returns what is wrong and where in the path, or undefined
 * @throws PkiError `der` for malformed extensions
 */
export function policyViolation(
  path: readonly Certificate[],
): { index: number; detail: string } | undefined {
  const state = newState(path.length)
  for (let index = path.length - 1; index >= 0; index -= 1) {
    const certificate = path[index]
    if (!certificate) break
    const said = readPolicyExtensions(certificate)
    const isSelfIssued = certificate.issuer.equals(certificate.subject)
    narrow(state, said, index > 0 && isSelfIssued)
    if (state.explicitPolicy === 0 && state.left.size === 0) {
      return { index, detail: 'No policy is left, and one is required' }
    }
    if (index === 0) {
      if (state.explicitPolicy > 0) state.explicitPolicy -= 1
      if (said.requireExplicitPolicy === 0) state.explicitPolicy = 0
      break
    }
    if (said.mappings?.has(anyPolicy) || mapsToAny(said)) {
      return { index, detail: 'anyPolicy is mapped' }
    }
    map(state, said)
    count(state, said, isSelfIssued)
  }
  const isMissing = state.explicitPolicy === 0 && state.left.size === 0
  return isMissing ? { index: 0, detail: 'No policy is left, and one is required' } : undefined
}

interface State {
  /** Policies that hold so far, each with what the next certificate may call it. Empty: the tree is NULL. */
  left: Map<string, ReadonlySet<string>>
  explicitPolicy: number
  policyMapping: number
  inhibitAnyPolicy: number
}

/** §6.1.2. */
function newState(pathLength: number): State {
  const unlimited = pathLength + 1
  return {
    left: new Map([[anyPolicy, new Set([anyPolicy])]]),
    explicitPolicy: unlimited,
    policyMapping: unlimited,
    inhibitAnyPolicy: unlimited,
  }
}

/** §6.1.3 (d) and (e). */
function narrow(state: State, { policies }: PolicyExtensions, isSelfIssuedCa: boolean): void {
  const expected = new Set([...state.left.values()].flatMap((names) => [...names]))
  const next = new Map<string, ReadonlySet<string>>()
  for (const policy of policies ?? []) {
    const isExpected = expected.has(policy) || state.left.has(anyPolicy)
    if (policy !== anyPolicy && isExpected) next.set(policy, new Set([policy]))
  }
  if (policies?.has(anyPolicy) && (state.inhibitAnyPolicy > 0 || isSelfIssuedCa)) {
    for (const policy of expected) {
      if (!next.has(policy)) next.set(policy, new Set([policy]))
    }
  }
  state.left = next
}

function mapsToAny({ mappings }: PolicyExtensions): boolean {
  return [...(mappings?.values() ?? [])].some((targets) => targets.has(anyPolicy))
}

/** §6.1.4 (b). */
function map(state: State, { mappings }: PolicyExtensions): void {
  for (const [policy, targets] of mappings ?? []) {
    if (state.policyMapping === 0) state.left.delete(policy)
    else if (state.left.has(policy) || state.left.has(anyPolicy)) state.left.set(policy, targets)
  }
}

/** §6.1.4 (h), (i) and (j). */
function count(state: State, said: PolicyExtensions, isSelfIssued: boolean): void {
  const step = isSelfIssued ? 0 : 1
  const lower = (value: number, limit: number | undefined) =>
    Math.min(Math.max(0, value - step), limit ?? value)
  state.explicitPolicy = lower(state.explicitPolicy, said.requireExplicitPolicy)
  state.policyMapping = lower(state.policyMapping, said.inhibitPolicyMapping)
  state.inhibitAnyPolicy = lower(state.inhibitAnyPolicy, said.inhibitAnyPolicy)
}

function readPolicyExtensions({ extensions }: Certificate): PolicyExtensions {
  const constraints = readExtension(extensions, oids.policyConstraints, readConstraints)
  return {
    policies: readExtension(extensions, oids.certificatePolicies, readPolicies),
    mappings: readExtension(extensions, oids.policyMappings, readMappings),
    requireExplicitPolicy: constraints?.requireExplicitPolicy,
    inhibitPolicyMapping: constraints?.inhibitPolicyMapping,
    inhibitAnyPolicy: readExtension(extensions, oids.inhibitAnyPolicy, (reader) =>
      reader.smallInteger(),
    ),
  }
}

/** Each policy once; qualifiers are for people and not looked into. */
function readPolicies(reader: DerReader): Set<string> {
  const list = reader.enter(tags.sequence)
  const policies = new Set<string>()
  do {
    const { offset } = list
    const information = list.enter(tags.sequence)
    const policy = information.oid()
    if (!information.isDone()) information.next(tags.sequence)
    information.finish()
    if (policies.has(policy) || policies.size >= maxPolicies) {
      throw new PkiError('der', 'A policy twice, or too many', offset)
    }
    policies.add(policy)
  } while (!list.isDone())
  return policies
}

function readMappings(reader: DerReader): Map<string, Set<string>> {
  const list = reader.enter(tags.sequence)
  const mappings = new Map<string, Set<string>>()
  let count = 0
  do {
    count += 1
    if (count > maxMappings) throw new PkiError('der', 'Too many policy mappings', list.offset)
    const pair = list.enter(tags.sequence)
    const issuerPolicy = pair.oid()
    const subjectPolicy = pair.oid()
    pair.finish()
    const targets = mappings.get(issuerPolicy) ?? new Set()
    mappings.set(issuerPolicy, targets.add(subjectPolicy))
  } while (!list.isDone())
  return mappings
}

function readConstraints(reader: DerReader) {
  const body = reader.enter(tags.sequence)
  const { offset } = body
  const requireExplicitPolicy = readSkip(body, 0)
  const inhibitPolicyMapping = readSkip(body, 1)
  body.finish()
  if (requireExplicitPolicy === undefined && inhibitPolicyMapping === undefined) {
    throw new PkiError('der', 'Empty policy constraints', offset)
  }
  return { requireExplicitPolicy, inhibitPolicyMapping }
}

function readSkip(body: DerReader, number: number): number | undefined {
  return body.peek() === primitive(number) ? body.smallInteger(primitive(number)) : undefined
}
