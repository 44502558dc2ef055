import { requireFits, requireSame, requireTogether } from './agreement.ts'
import { findTarget } from './delegations.ts'
import { VerificationError } from './errors.ts'
import { readDirectorTargets, readTargets } from './read.ts'
import {
  advanceSnapshot,
  advanceTimestamp,
  followRoots,
  isEvaluation,
  limits,
  offeredTimestamp,
  openListed,
  refuse,
  requireFresh,
  type RepositoryName,
  type Run,
  keep,
  sent,
} from './repository.ts'
import { laterOf, toInstant } from './time.ts'
import type {
  Bundle,
  DeviceFacts,
  DirectorTarget,
  DirectorTargetsMetadata,
  Instant,
  RootMetadata,
  SnapshotMetadata,
  TimeSources,
  TimestampMetadata,
  TrustedState,
  VerifiedBundle,
  VerifiedTarget,
} from './types.ts'

/**
 * Steps 0 to 8 of updates.md section 4, in their order: what a device does with a bundle before it looks at policy.
 * Pure: persist the returned state, then act on the targets. On refusal throws VerificationError with the attack code
 * and `state`, what had been verified by then and is to be persisted.
 */
export function verifyBundle(
  state: TrustedState,
  bundle: Bundle,
  device: DeviceFacts,
  now: TimeSources,
): VerifiedBundle {
  const run: Run = { state, bundle, device }
  try {
    return verify(run, now)
  } catch (error) {
    if (error instanceof VerificationError) error.state = run.state
    throw error
  }
}

function verify(run: Run, now: TimeSources): VerifiedBundle {
  requireBounded(run.bundle) // step 0
  const root = followRoots(run, 'director') // step 1
  const offered = offeredTimestamp(run, 'director', root) // step 2
  const time = trustedTime(run, offered, now)
  const before = run.state
  const { snapshot } = advance(run, 'director', { root, time, offered }) // steps 3 and 4
  const director = takeDirectorTargets(run, { root, snapshot, time, before }) // step 5
  run.state = { ...run.state, timeAt: time } // 2.5: only now is the time worth keeping
  const { 'x-policy': policy, 'x-deployment': deploymentId, targets: wanted } = director
  const found = Object.keys(wanted).length === 0 ? [] : verifyImages(run, { root, wanted, time })
  return {
    state: run.state,
    targets: found,
    ...(policy && { policy }),
    ...(deploymentId !== undefined && { deploymentId }),
    time,
  }
}

function requireBounded({ director, image }: Bundle): void {
  const entries = [...Object.entries(director), ...Object.entries(image)]
  const bytes = entries.reduce(
    (sum, [name, text]) => sum + name.length + Buffer.byteLength(text),
    0,
  )
  if (bytes > limits.bundle) refuse('endless-data', `The bundle is larger than ${limits.bundle}`)
}

/** updates.md 2.5: the answer to this device's nonce, else its clock; never before what it knew already. */
function trustedTime(
  { state, device }: Run,
  offered: TimestampMetadata | undefined,
  { rtc, nonce }: TimeSources,
): Instant {
  const known = laterOf(device.firmwareBuildTime ?? '', state.timeAt)
  if (nonce !== undefined) {
    if (offered?.['x-nonce'] !== nonce) refuse('freeze', 'The answer is to another question')
    const { 'x-time': answered } = offered
    if (answered === undefined) refuse('clock', 'The answer does not say what time it is')
    return laterOf(answered, known)
  }
  const year = rtc?.getUTCFullYear() ?? Number.NaN
  // A year of five digits, or none at all, would not compare as text.
  if (!rtc || !(year >= 1970 && year <= 9999)) refuse('clock', 'There is no source of time')
  return laterOf(toInstant(rtc), known)
}

/** Steps 3 and 4 of one repository, once the time is known. */
function advance(
  run: Run,
  name: RepositoryName,
  known: { root: RootMetadata; time: Instant; offered: TimestampMetadata | undefined },
): { snapshot: SnapshotMetadata } {
  const { root, time, offered } = known
  // TUF 5.3.10, after the walk; step 2 comes first because the time may be in the answer.
  requireFresh(root.expires, time, `${name} root`)
  const timestamp = advanceTimestamp(run, name, { root, time, ...(offered && { offered }) })
  return { snapshot: advanceSnapshot(run, name, { root, timestamp, time }) }
}

/** Step 5: what the director wants of this device. */
function takeDirectorTargets(
  run: Run,
  known: { root: RootMetadata; snapshot: SnapshotMetadata; time: Instant; before: TrustedState },
): DirectorTargetsMetadata {
  const { root, snapshot, time, before } = known
  const { device } = run
  const listed = snapshot.meta['targets.json']
  const text =
    sent(run, 'director', `${listed?.version}.targets.json`) ?? run.state.director.targets
  const expected = { keys: root.keys, role: root.roles.targets, read: readDirectorTargets }
  const director = openListed(text, listed, expected)
  // Uptane 2.1 5.4.4.6: the director may not delegate.
  if (director.delegations) refuse('arbitrary', 'The director delegates')
  requireFresh(director.expires, time, 'director targets')
  if (director['x-device'] !== device.deviceId) {
    // None of it is about this device: its versions must not count here either.
    run.state = before
    refuse('wrong-device', 'These files are for another device')
  }
  const components = new Set<string>()
  for (const { custom } of Object.values(director.targets)) {
    const { component, deviceId } = custom
    if (deviceId !== device.deviceId) refuse('wrong-device', 'A target is for another device')
    if (components.has(component)) refuse('arbitrary', `Two images for ${component}`)
    if (!Object.hasOwn(device.components, component)) {
      refuse('wrong-device', `This device has no ${component}`)
    }
    components.add(component)
  }
  if (text !== undefined) keep(run, 'director', { targets: text })
  return director
}

/** Steps 6 to 8: the image repository must say the same, and it must fit this device. */
function verifyImages(
  run: Run,
  known: { root: RootMetadata; wanted: Record<string, DirectorTarget>; time: Instant },
): VerifiedTarget[] {
  const { wanted, time } = known
  const root = followRoots(run, 'image')
  if (isEvaluation(root) !== isEvaluation(known.root)) {
    refuse('evaluation', 'One repository is for evaluation and one is not')
  }
  const offered = offeredTimestamp(run, 'image', root)
  const { snapshot } = advance(run, 'image', { root, time, offered })
  const listed = snapshot.meta['targets.json']
  const text = sent(run, 'image', `${listed?.version}.targets.json`) ?? run.state.image.targets
  const expected = { keys: root.keys, role: root.roles.targets, read: readTargets }
  const targets = openListed(text, listed, expected)
  requireFresh(targets.expires, time, 'image targets')
  if (text !== undefined) keep(run, 'image', { targets: text })
  const images = Object.entries(wanted).map(([path, director]) => {
    const image = findTarget(run, path, { snapshot, targets, time })
    if (!image) refuse('arbitrary', `The image repository does not vouch for ${path}`)
    requireSame(path, director, image) // step 7
    requireFits(run, path, director) // step 8
    return toVerified(path, director)
  })
  requireTogether(run.device, images)
  forgetRoles(run, snapshot)
  return images
}

/** Roles that the snapshot no longer lists, after a rotation of its key, need no copy. */
function forgetRoles(run: Run, { meta }: SnapshotMetadata): void {
  const listed = Object.entries(run.state.image.delegated).filter(([role]) =>
    Object.hasOwn(meta, `${role}.json`),
  )
  keep(run, 'image', { delegated: Object.fromEntries(listed) })
}

function toVerified(path: string, { length, hashes, custom }: DirectorTarget): VerifiedTarget {
  const { component, match, delivery } = custom
  return { path, component, length, sha256: hashes['sha256'] ?? '', match, delivery }
}
