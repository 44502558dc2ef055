import { canonicalize } from './canonical.ts'
import { VerificationError } from './errors.ts'
import { factsOfPath, isPlaceFor, pathMatches } from './paths.ts'
import { delegationSigners, isPqRequired, type Signers, targetsSigners } from './post-quantum.ts'
import { readDirectorTargets } from './read.ts'
import {
  type Expected,
  fleetsealFormat,
  type Format,
  isAsListed,
  isEvaluation,
  limits,
  must,
  nextRoot,
  openHeld,
  openRoot,
  openSigned,
} from './repository.ts'
import { ownEntry } from './shape.ts'
import { laterOf, toInstant } from './time.ts'
import type * as Tuf from './types.ts'

/*
 * The device's verifier: steps 0 to 8 of updates.md section 4, in their order, and of each repository the client workflow
 * of TUF 1.0.34 section 5. Clauses without another name are of updates.md. Small enough to be read in one sitting, and
 * test/rules/verifier.test.ts keeps it so. Beside it, because the signer uses them too: what one file is (repository.ts, read.ts,
 * envelope.ts, post-quantum.ts) and what a path says (paths.ts).
 */

export type RepositoryName = keyof Tuf.Bundle

/** One verification. `state` moves forward with every file that passed, so that a failure later loses nothing. */
export interface Run {
  state: Tuf.TrustedState
  readonly bundle: Tuf.Bundle
  readonly device: Pick<Tuf.DeviceFacts, 'allowEvaluation'>
  readonly format: Format
  /** Trusted time of this run, known from step 2 on. */
  time: Tuf.Instant
}

/** One repository of a run: its newest root, and the timestamp that was sent, signed by that root's key. */
export interface View {
  readonly run: Run
  readonly name: RepositoryName
  readonly root: Tuf.RootMetadata
  readonly offered: Tuf.TimestampMetadata | undefined
}

/**
 * Steps 0 to 8 of updates.md section 4, in their order: what a device does with a bundle before it looks at policy.
 * Pure: persist the returned state, then act on the targets. On refusal throws VerificationError with the attack code
 * and `state`, what had been verified by then and is to be persisted.
 */
export function verifyBundle(
  state: Tuf.TrustedState,
  bundle: Tuf.Bundle,
  device: Tuf.DeviceFacts,
  now: Tuf.TimeSources,
): Tuf.VerifiedBundle {
  const run: Run = { state, bundle, device, format: fleetsealFormat, time: '' }
  try {
    requireBounded(bundle) // step 0
    const director = openRepository(run, 'director') // step 1, and of 2 the signature
    run.time = trustedTime(director, device, now) // step 2
    const before = run.state
    const snapshot = takeSnapshot(director, takeTimestamp(director)) // steps 3 and 4
    const wanted = takeWanted(director, device, { snapshot, before }) // step 5
    run.state = { ...run.state, timeAt: run.time } // 2.5: only now is the time worth keeping
    const targets = takeImages(director, device, wanted.targets) // steps 6 to 8
    const { 'x-policy': policy, 'x-deployment': deploymentId } = wanted
    const told = { ...(policy && { policy }), ...(deploymentId !== undefined && { deploymentId }) }
    return { state: run.state, targets, ...told, time: run.time }
  } catch (error) {
    if (error instanceof VerificationError) error.state = run.state
    throw error
  }
}

function requireBounded({ director, image }: Tuf.Bundle): void {
  const files = [...Object.entries(director), ...Object.entries(image)]
  const bytes = files.reduce((sum, [name, text]) => sum + name.length + Buffer.byteLength(text), 0)
  must(bytes <= limits.bundle, 'endless-data', `The bundle is larger than ${limits.bundle}`)
}

/** updates.md 2.5: the answer to this device's nonce, else its clock; never before what it knew already. */
function trustedTime(
  { run, offered }: View,
  { firmwareBuildTime = '' }: Tuf.DeviceFacts,
  { nonce, rtc }: Tuf.TimeSources,
): Tuf.Instant {
  const least = laterOf(firmwareBuildTime, run.state.timeAt)
  if (nonce !== undefined) {
    must(offered?.['x-nonce'] === nonce, 'freeze', 'The answer is to another question')
    const answered = offered?.['x-time']
    must(answered, 'clock', 'The answer does not say what time it is')
    return laterOf(answered, least)
  }
  must(rtc, 'clock', 'There is no source of time')
  const year = rtc.getUTCFullYear()
  // A year of five digits, or none at all, would not compare as text.
  must(year >= 1970 && year <= 9999, 'clock', 'The clock makes no sense')
  return laterOf(toInstant(rtc), least)
}

export function keep(run: Run, name: RepositoryName, files: Partial<Tuf.RepositoryState>): void {
  run.state = { ...run.state, [name]: { ...run.state[name], ...files } }
}

/** Step 1, and of step 2 that the timestamp is signed; it is not yet compared with the stored one. */
export function openRepository(run: Run, name: RepositoryName): View {
  const root = followRoots(run, name)
  const text = ownEntry(run.bundle[name], 'timestamp.json')
  const offered = text === undefined ? undefined : openSigned(text, timestampOf(run, root))
  return { run, name, root, offered }
}

const rootFile = /^([1-9][0-9]{0,9})\.root\.json$/

/** From the trusted root to the newest one sent, each link signed by both (TUF 5.3). */
export function followRoots(run: Run, name: RepositoryName): Tuf.RootMetadata {
  let root = openRoot(run.state[name].root, undefined, run.format)
  // 3.6: an evaluation root is for devices that were told to try the product out.
  must(run.device.allowEvaluation || !isEvaluation(root), 'evaluation', 'A root for evaluation')
  const sent = Object.keys(run.bundle[name]).map((file) => Number(rootFile.exec(file)?.[1] ?? 0))
  const newest = Math.max(root.version, ...sent)
  for (let steps = 0; root.version < newest; steps += 1) {
    // 3.4: bounded in one run; what was walked is kept, so the next run goes on from there.
    must(steps < limits.rotations, 'endless-data', 'More root rotations than one run takes')
    const text = ownEntry(run.bundle[name], `${root.version + 1}.root.json`)
    must(text !== undefined, 'rollback', `Root ${root.version + 1} is left out`)
    const next = nextRoot(root, text, run.format)
    keep(run, name, { root: text })
    // 2.5: a stolen timestamp key may have moved the time far ahead; its replacement undoes that.
    const { keyids } = next.roles.timestamp
    if (name === 'director' && root.roles.timestamp.keyids.some((id) => !keyids.includes(id))) {
      const { timeAt: _, ...rest } = run.state
      run.state = rest
    }
    root = next
  }
  return root
}

function timestampOf({ format }: Run, { keys, roles }: Tuf.RootMetadata) {
  const { decode, timestamp: read } = format
  return { keys, role: roles.timestamp, maxBytes: limits.timestamp, read, decode }
}

/** Nothing counts past its date: TUF 5.3.10, 5.4.4, 5.5.6 and 5.6.6. */
export function requireFresh({ time }: Run, { expires }: { expires: string }, what: string): void {
  must(expires > time, 'freeze', `${what} expired at ${expires}; it is ${time}`)
}

/** Step 3: TUF 5.4. Gives what the timestamp says about the snapshot. */
export function takeTimestamp({ run, name, root, offered }: View): Tuf.MetaFile {
  // TUF 5.3.10 comes here, because the time may be in the answer.
  requireFresh(run, root, `${name} root`)
  const held = openHeld(run.state[name].timestamp, timestampOf(run, root))
  const text = ownEntry(run.bundle[name], 'timestamp.json')
  // TUF 5.4.3.1; 2.5: an equal version is discarded and the stored file stays.
  must((offered?.version ?? Infinity) >= (held?.version ?? 0), 'rollback', 'An older timestamp')
  const timestamp = offered?.version === held?.version ? held : (offered ?? held)
  must(timestamp, 'freeze', 'There is no timestamp')
  const listed = timestamp.meta['snapshot.json']
  // TUF 5.4.3.2
  const { version: least = 0 } = held?.meta['snapshot.json'] ?? {}
  must(listed.version >= least, 'rollback', 'The timestamp names an older snapshot')
  requireFresh(run, timestamp, `${name} timestamp`)
  if (timestamp !== held && text !== undefined) keep(run, name, { timestamp: text })
  return listed
}

type Place = { role: string; held: string | undefined; listed: Tuf.MetaFile | undefined }

/** A file that another file names: its length and hash are asked before it is parsed (TUF 5.5.1, 5.6.1). */
function openListed<T extends { version: number }>(
  { run, name }: View,
  { role, held, listed }: Place,
  expected: Signers & Pick<Expected<T>, 'read'>,
): { file: T; text: string } {
  must(listed, 'mix-and-match', `${role} is not listed`)
  const missing = `${listed.version}.${encodeURIComponent(role)}.json`
  const text = ownEntry(run.bundle[name], missing) ?? held
  must(text !== undefined, 'mix-and-match', `${missing} is left out`, { missing })
  must(isAsListed(Buffer.from(text), listed), 'mix-and-match', `${role} has another length or hash`)
  const file = openSigned(text, { ...expected, maxBytes: limits.bundle, decode: run.format.decode })
  must(file.version === listed.version, 'mix-and-match', `${role} has another version inside`)
  return { file, text }
}

/** Step 4: TUF 5.5. */
export function takeSnapshot(view: View, listed: Tuf.MetaFile): Tuf.SnapshotMetadata {
  const { run, name, root } = view
  const { decode, snapshot: read } = run.format
  const held = run.state[name].snapshot
  const expected = { keys: root.keys, role: root.roles.snapshot, read }
  const { file, text } = openListed(view, { role: 'snapshot', held, listed }, expected)
  const before = openHeld(held, { ...expected, maxBytes: limits.bundle, decode })
  for (const [listing, { version }] of Object.entries(before?.meta ?? {})) {
    // TUF 5.5.5: nothing that was listed may vanish or fall.
    const { version: now = 0 } = ownEntry(file.meta, listing) ?? {}
    must(now >= version, 'rollback', `${listing} is lost or older`)
  }
  requireFresh(run, file, `${name} snapshot`)
  keep(run, name, { snapshot: text })
  return file
}

/** Steps 5 and 6: the targets at the top, not looked into yet (TUF 5.6). The director's are online, and classical. */
export function openTargets<T extends Tuf.TargetsMetadata<unknown>>(
  view: View,
  { meta }: Tuf.SnapshotMetadata,
  read: Expected<T>['read'],
): { file: T; text: string } {
  const { run, name, root } = view
  const classical = { keys: root.keys, role: root.roles.targets }
  const signers = name === 'image' ? targetsSigners(root) : classical
  const listed = ownEntry(meta, 'targets.json')
  const held = run.state[name].targets
  return openListed(view, { role: 'targets', held, listed }, { ...signers, read })
}

type Step = [delegation: Tuf.Delegation, signers: Signers]

/**
 * Step 6, last part: what a repository says about a path, searched through the delegations in pre-order, each role once, at most
 * 32 (TUF 5.6.7). Undefined when nobody who may speak for the path does.
 */
export function findTarget(
  view: View,
  path: string,
  known: { snapshot: Tuf.SnapshotMetadata; targets: Tuf.TargetsMetadata },
): Tuf.ImageTarget | undefined {
  const visited = new Set<string>()
  let pending: Step[] = []
  let speaker = known.targets
  for (;;) {
    if (Object.hasOwn(speaker.targets, path)) return speaker.targets[path]
    const next = stepsFrom(view.root, speaker, path)
    // A terminating role has the last word: whatever was waiting behind it is not asked.
    if (next.at(-1)?.[0].terminating !== true) next.push(...pending)
    // A role that was asked before is not asked again, so a cycle ends.
    const [step, ...rest] = next.filter(([{ name }]) => !visited.has(name))
    if (!step) return undefined
    must(visited.size < limits.delegated, 'endless-data', 'Too many delegated roles')
    visited.add(step[0].name)
    pending = rest
    speaker = takeDelegated(view, step, known.snapshot)
  }
}

/** The roles a targets file names for a path, in order, none behind the first terminating one. */
function stepsFrom(root: Tuf.RootMetadata, speaker: Tuf.TargetsMetadata, path: string): Step[] {
  const roles = speaker.delegations?.roles ?? []
  const matching = roles.filter(({ paths }) => paths.some((pattern) => pathMatches(pattern, path)))
  const last = matching.findIndex(({ terminating }) => terminating)
  return matching
    .slice(0, last < 0 ? matching.length : last + 1)
    .map((role) => [role, delegationSigners(speaker, role, isPqRequired(root))])
}

/** A stored copy is verified like a sent one: against the current delegator (updates.md 3.4). */
function takeDelegated(
  view: View,
  [{ name: role }, signers]: Step,
  { meta }: Tuf.SnapshotMetadata,
): Tuf.TargetsMetadata {
  const { run, name } = view
  const { delegated } = run.state[name]
  const found = { role, held: ownEntry(delegated, role), listed: ownEntry(meta, `${role}.json`) }
  const { file, text } = openListed(view, found, { ...signers, read: run.format.targets })
  requireFresh(run, file, role)
  keep(run, name, { delegated: { ...delegated, [role]: text } })
  return file
}

/** Step 5: what the director wants of this device. */
function takeWanted(
  view: View,
  { deviceId, components }: Tuf.DeviceFacts,
  { snapshot, before }: { snapshot: Tuf.SnapshotMetadata; before: Tuf.TrustedState },
): Tuf.DirectorTargetsMetadata {
  const { run } = view
  const { file, text } = openTargets(view, snapshot, readDirectorTargets)
  // Uptane 2.1 5.4.4.6: the director may not delegate.
  must(!file.delegations, 'arbitrary', 'The director delegates')
  requireFresh(run, file, 'director targets')
  // None of it is about this device: its versions must not count here either.
  if (file['x-device'] !== deviceId) run.state = before
  must(file['x-device'] === deviceId, 'wrong-device', 'These files are for another device')
  const named = new Set<string>()
  for (const { custom } of Object.values(file.targets)) {
    const { component } = custom
    must(custom.deviceId === deviceId, 'wrong-device', 'A target is for another device')
    must(!named.has(component), 'arbitrary', `Two images for ${component}`)
    must(ownEntry(components, component), 'wrong-device', `This device has no ${component}`)
    named.add(component)
  }
  keep(run, 'director', { targets: text })
  return file
}

/** Steps 6 to 8: the image repository must say the same, and it must fit this device. */
function takeImages(
  director: View,
  device: Tuf.DeviceFacts,
  wanted: Readonly<Record<string, Tuf.DirectorTarget>>,
): Tuf.VerifiedTarget[] {
  if (Object.keys(wanted).length === 0) return []
  const { run } = director
  const view = openRepository(run, 'image')
  const isOneKind = isEvaluation(view.root) === isEvaluation(director.root)
  must(isOneKind, 'evaluation', 'One repository is for evaluation and one is not') // 3.6
  const snapshot = takeSnapshot(view, takeTimestamp(view))
  const { file: targets, text } = openTargets(view, snapshot, run.format.targets)
  requireFresh(run, targets, 'image targets')
  keep(run, 'image', { targets: text })
  const images = Object.entries(wanted).map(([path, target]) => {
    const image = findTarget(view, path, { snapshot, targets })
    // 2.4: what is one device's own no offline key can sign; the device holds it to the schema that one did sign.
    const isOwn = target.custom.component === 'overrides' && target.custom.match.kind === 'config'
    must(image ?? isOwn, 'arbitrary', `The image repository does not vouch for ${path}`)
    // Step 7: byte for byte the same in both.
    const isSame = !image || factsOf(target).equals(factsOf(image))
    must(isSame, 'mix-and-match', `The two differ about ${path}`)
    requireFits(path, target, { device, svn: run.state.svn })
    const { component, match, delivery } = target.custom
    const { length, hashes } = target
    return { path, component, length, sha256: hashes['sha256'] ?? '', match, delivery }
  })
  requireTogether(device, images)
  // Roles that the snapshot no longer lists, after a rotation of its key, need no copy.
  const { delegated } = run.state.image
  const kept = Object.entries(delegated).filter(([role]) => ownEntry(snapshot.meta, `${role}.json`))
  keep(run, 'image', { delegated: Object.fromEntries(kept) })
  return images
}

function factsOf({ length, hashes, custom }: Tuf.ImageTarget): Buffer {
  return canonicalize({ length, hashes, match: custom.match })
}

/** Step 8, what one image needs of the device. */
function requireFits(
  path: string,
  { custom: { component, match } }: Tuf.DirectorTarget,
  { device, svn }: { device: Tuf.DeviceFacts; svn: Tuf.TrustedState['svn'] },
): void {
  // Only the path was delegated, so it has the last word about kind, model and component (2.4): a signer of one model's
  // configurations must not be able to pass one as firmware, nor the director a radio image as the main one.
  const named = factsOfPath(path)
  const isForModel = named.model === device.model && match.model === device.model
  must(isForModel, 'wrong-hardware', `${path} is for another model`)
  must(named.kind === match.kind, 'arbitrary', `${path} is no place for ${match.kind}`)
  must(isPlaceFor(named, component), 'mix-and-match', `${path} is not for ${component}`)
  const isForHardware = match.hardwareIds.some((id) => device.hardwareIds.includes(id))
  must(isForHardware, 'wrong-hardware', `${path} is not for ${device.hardwareIds.join(', ')}`)
  const installed = device.components[component]
  // The stored counter decides; the running image's own only on a device that never committed an update.
  const least = ownEntry(svn, component) ?? installed?.svn ?? 0
  must(match.svn >= least, 'rollback', `${path} has svn ${match.svn}, this device ${least}`)
  const isNext = (installed?.build ?? 0) >= (match.minPrev ?? 0)
  must(isNext, 'dependency', `${path} needs build ${match.minPrev} installed before it`)
}

/** Step 8, what images need of each other: `requires` is met by this bundle or by what stays installed. */
function requireTogether(device: Tuf.DeviceFacts, targets: readonly Tuf.VerifiedTarget[]): void {
  const coming = new Map(targets.map(({ component, match }) => [component, match.build]))
  for (const { path, match } of targets) {
    for (const [component, least] of Object.entries(match.requires ?? {})) {
      const build = coming.get(component) ?? ownEntry(device.components, component)?.build ?? -1
      must(build >= least, 'partial-bundle', `${path} needs ${component} ${least}`)
    }
  }
}
