import { VerificationError } from './errors.ts'
import { factsOfPath } from './paths.ts'
import {
  between,
  listingOf,
  numberAfter,
  openSlice,
  requireCurrent,
  type Slice,
  versionIn,
} from './profile-p-slice.ts'
import { must } from './repository.ts'
import { ownEntry } from './shape.ts'
import { laterOf, toInstant } from './time.ts'
import type * as Tuf from './types.ts'

/*
 * Profile P of updates.md section 4, for a device with room for neither a JSON parser nor a root chain: its keys are pinned, and new
 * firmware brings new ones. It installs what its director names and two release keys have signed, so that the director's keys alone
 * install nothing. One component, one target.
 */

/** Raw Ed25519 public keys in lower hex, built into the firmware. */
export interface Pins {
  directorTargets: string
  directorSnapshot: string
  directorTimestamp: string
  /** Two different ones; both must have signed. */
  release: readonly [string, string]
}

export type ConstrainedFacts = Tuf.DeviceFacts & { pins: Pins }

interface Run {
  state: Tuf.TrustedState
  readonly bundle: Tuf.Bundle
  readonly device: ConstrainedFacts
  time: Tuf.Instant
}

interface Wanted {
  path: string
  component: string
  sha256: string
  length: number
  /** From `"match":{` to the end of the target: what the release keys must have signed, byte for byte. */
  tail: string
}

/**
 * As verifyBundle, with pinned keys in place of roots. `policy` is never there, since it would have to be parsed: the class that the
 * release keys signed decides. On refusal throws VerificationError with the code and `state`.
 */
export function verifyConstrained(
  state: Tuf.TrustedState,
  bundle: Tuf.Bundle,
  device: ConstrainedFacts,
  now: Tuf.TimeSources,
): Tuf.VerifiedBundle {
  const run: Run = { state, bundle, device, time: '' }
  try {
    const targets = takeDirector(run, now)
    const wanted = wantedIn(targets, device.deviceId)
    const target = wanted && takeImage(run, wanted)
    const deploymentId = between(targets, [',"x-deployment":"', '"'])
    return {
      state: run.state,
      targets: target ? [target] : [],
      ...(deploymentId !== undefined && { deploymentId }),
      time: run.time,
    }
  } catch (error) {
    if (error instanceof VerificationError) error.state = run.state
    throw error
  }
}

/** The director's targets; and, with a nonce, timestamp and snapshot before them, for time and freshness. */
function takeDirector(run: Run, { nonce, rtc }: Tuf.TimeSources): Slice {
  const { state, device } = run
  const { pins } = device
  const held = state.director
  const text = fileOf(run.bundle.director, 'targets', held.targets)
  const files: Partial<Tuf.RepositoryState> = { targets: text }
  if (nonce === undefined) {
    must(rtc && !Number.isNaN(rtc.getTime()), 'clock', 'There is no source of time')
    run.time = laterOf(toInstant(rtc), leastTime(run))
  } else {
    const snapshotText = fileOf(run.bundle.director, 'snapshot', held.snapshot)
    const snapshot = openSlice(snapshotText, [pins.directorSnapshot])
    const { slice: timestamp, text: timestampText } = takeTimestamp(run, nonce)
    const listed = timestamp.includes(listingOf('snapshot.json', snapshotText, snapshot))
    must(listed, 'mix-and-match', 'The timestamp names another snapshot')
    requireCurrent(snapshot, 'snapshot', run.time)
    requireNotOlder(snapshot, held.snapshot, [pins.directorSnapshot])
    const targets = openSlice(text, [pins.directorTargets])
    const isNamed = snapshot.includes(listingOf('targets.json', text, targets))
    must(isNamed, 'mix-and-match', 'The snapshot names other targets')
    Object.assign(files, { snapshot: snapshotText, timestamp: timestampText })
  }
  const targets = openSlice(text, [pins.directorTargets])
  requireCurrent(targets, 'targets', run.time)
  requireNotOlder(targets, held.targets, [pins.directorTargets])
  // The name stands at the top and before nothing but `x-` fields, so after the last version.
  const end = targets.slice(targets.lastIndexOf(',"version":'))
  const named = between(end, [',"x-device":"', '"'])
  must(named === device.deviceId, 'wrong-device', 'These files are for another device')
  run.state = { ...state, director: { ...held, ...files }, timeAt: run.time }
  return targets
}

/** Steps 2 and 3: the answer to this device's question. An equal version is discarded and the stored file stays (2.5). */
function takeTimestamp(run: Run, nonce: string): { slice: Slice; text: string } {
  const { pins } = run.device
  const held = run.state.director.timestamp
  const text = ownEntry(run.bundle.director, 'timestamp.json')
  must(text !== undefined, 'freeze', 'There is no answer')
  const slice = openSlice(text, [pins.directorTimestamp])
  const end = slice.slice(slice.lastIndexOf(',"version":'))
  must(between(end, [',"x-nonce":"', '"']) === nonce, 'freeze', 'The answer is to another question')
  const answered = between(end, [',"x-time":"', '"'])
  must(answered?.length === 20, 'clock', 'The answer does not say what time it is')
  run.time = laterOf(answered, leastTime(run))
  requireNotOlder(slice, held, [pins.directorTimestamp])
  const before = openHeld(held, [pins.directorTimestamp])
  const isSame = before !== undefined && versionIn(before) === versionIn(slice)
  const taken = isSame ? { slice: before, text: held ?? text } : { slice, text }
  requireCurrent(taken.slice, 'timestamp', run.time)
  return taken
}

/** New firmware with another timestamp key takes the time back to when it was built (2.5). */
function leastTime({ state, device }: Run): Tuf.Instant {
  const { timestamp } = state.director
  const isKeyGone = timestamp !== undefined && !openHeld(timestamp, [device.pins.directorTimestamp])
  return laterOf(device.firmwareBuildTime ?? '', isKeyGone ? undefined : state.timeAt)
}

/** What the director wants, or undefined when that is nothing. One target: the end of it is the end of the list. */
function wantedIn(slice: Slice, deviceId: string): Wanted | undefined {
  const open = '"targets":{'
  const at = slice.indexOf(open)
  must(at > 0, 'arbitrary', 'There are no targets')
  if (slice.startsWith('},"version":', at + open.length)) return undefined
  const head = /^"([!#-[\]-~]{1,256})":\{"custom":\{"component":"([a-z0-9-]{1,32})","/.exec(
    slice.slice(at + open.length, at + open.length + 400),
  )
  const start = slice.indexOf(',"match":{', at) + 1
  // One pattern: the first `"length":` of the file belongs to a delivery.
  const hashes = '},"v":1},"hashes":{"sha256":"'
  const hash = slice.indexOf(hashes, start)
  must(
    head && start > 0 && hash > 0,
    'arbitrary',
    'The target is not written as this device reads it',
  )
  const [, path = '', component = ''] = head
  const named = between(slice.slice(at, start), [',"deviceId":"', '"'])
  must(named === deviceId, 'wrong-device', 'The target is for another device')
  const sha256 = slice.slice(hash + hashes.length, hash + hashes.length + 64)
  const after = '"},"length":'
  const lengthAt = hash + hashes.length + 64
  must(slice.startsWith(after, lengthAt), 'arbitrary', 'The hash is not a SHA-256')
  const length = numberAfter(slice, lengthAt, after)
  const end = slice.indexOf('}', lengthAt + after.length) + 1
  must(slice.startsWith('},"version":', end), 'arbitrary', 'There is more than one target')
  return { path, component, sha256, length, tail: slice.slice(start, end) }
}

/** Steps 6 to 8: the two release keys say the same about the same path, and it fits this device. */
function takeImage(run: Run, wanted: Wanted): Tuf.VerifiedTarget {
  const { device, state } = run
  const { pins, model } = device
  const { path, component, sha256, length, tail } = wanted
  must(ownEntry(device.components, component), 'wrong-device', `This device has no ${component}`)
  const named = factsOfPath(path)
  must(named.model === model, 'wrong-hardware', `${path} is for another model`)
  const isFirmware = named.kind === 'firmware' && path.split('/').length === 4
  must(isFirmware, 'arbitrary', `${path} is no place for firmware`)
  must(named.component === component, 'mix-and-match', `${path} is not an image for ${component}`)
  const role = `fw-${model}`
  const held = ownEntry(state.image.delegated, role)
  const text = fileOf(run.bundle.image, role, held)
  must(pins.release[0] !== pins.release[1], 'arbitrary', 'One release key is pinned twice')
  const slice = openSlice(text, pins.release)
  requireCurrent(slice, 'targets', run.time)
  requireNotOlder(slice, held, pins.release)
  must(
    slice.includes(`"${path}":{"custom":{`),
    'arbitrary',
    `The release keys do not vouch for ${path}`,
  )
  const isSame = slice.includes(`"${path}":{"custom":{${tail}`)
  must(isSame, 'mix-and-match', `The director and the release keys disagree about ${path}`)
  const match = matchIn(device, state.svn, { component, tail })
  const delegated = { ...state.image.delegated, [role]: text }
  run.state = { ...state, image: { ...state.image, delegated } }
  return { path, component, length, sha256, match, delivery: [{ m: 'full', length, sha256 }] }
}

/** Step 8 on the raw text of `match`, whose names are sorted: build first, svn last but for `version`. */
function matchIn(
  device: ConstrainedFacts,
  stored: Tuf.TrustedState['svn'],
  { component, tail }: Pick<Wanted, 'component' | 'tail'>,
): Tuf.Match {
  const installed = ownEntry(device.components, component)
  const isForModel = tail.includes(`,"model":"${device.model}",`)
  must(isForModel, 'wrong-hardware', 'The image is for another model')
  must(tail.includes(',"kind":"firmware",'), 'arbitrary', 'The image is no firmware')
  // The whole list, not its first entry.
  const ids = between(tail, [',"hardwareIds":["', '"],'])?.split('","') ?? []
  const mine = ids.filter((id) => device.hardwareIds.includes(id))
  must(mine.length > 0, 'wrong-hardware', `The image is not for ${device.hardwareIds.join(', ')}`)
  // A component may be called `svn`, so the last one counts.
  const svn = numberAfter(tail, tail.lastIndexOf(',"svn":'), ',"svn":')
  const least = ownEntry(stored, component) ?? installed?.svn ?? 0
  must(svn >= least, 'rollback', `The image has svn ${svn}, this device ${least}`)
  const build = numberAfter(
    tail,
    tail.startsWith('"match":{"build":') ? 0 : -1,
    '"match":{"build":',
  )
  const previous = tail.indexOf(',"minPrev":')
  const minPrev = previous < 0 ? 0 : numberAfter(tail, previous, ',"minPrev":')
  must((installed?.build ?? 0) >= minPrev, 'dependency', `Build ${minPrev} is needed before this`)
  for (const [, other = '', digits] of (between(tail, [',"requires":{', '}']) ?? '').matchAll(
    /"([a-z0-9-]+)":([0-9]+)/g,
  )) {
    const has = ownEntry(device.components, other)?.build ?? -1
    must(has >= Number(digits), 'partial-bundle', `${other} ${digits} is needed`)
  }
  const releaseClass = (['security', 'feature', 'config'] as const).find((one) =>
    tail.includes(`,"class":"${one}",`),
  )
  must(releaseClass, 'arbitrary', 'The image is of no class')
  const version = between(tail, [',"version":"', '"'])
  const fixes = between(tail, [',"fixes":["', '"],'])?.split('","')
  return {
    kind: 'firmware',
    model: device.model,
    hardwareIds: mine,
    build,
    svn,
    class: releaseClass,
    ...(version !== undefined && { version }),
    ...(fixes && { fixes }),
  }
}

/** The one file of a role that was sent, or else the one held. */
function fileOf(
  files: Readonly<Record<string, string>>,
  role: string,
  held: string | undefined,
): string {
  const sent = Object.keys(files).filter(
    (name) => name.replace(/^[1-9][0-9]*\./, '') === `${role}.json`,
  )
  must(sent.length <= 1, 'arbitrary', `More than one ${role} was sent`)
  const text = ownEntry(files, sent[0] ?? '') ?? held
  must(text !== undefined, 'mix-and-match', `${role} is left out`)
  return text
}

/** What is stored counts only while the pinned keys verify it. */
function openHeld(text: string | undefined, keys: readonly string[]): Slice | undefined {
  try {
    return text === undefined ? undefined : openSlice(text, keys)
  } catch (error) {
    if (error instanceof VerificationError) return undefined
    throw error
  }
}

function requireNotOlder(slice: Slice, held: string | undefined, keys: readonly string[]): void {
  const before = openHeld(held, keys)
  const least = before === undefined ? 0 : versionIn(before)
  must(versionIn(slice) >= least, 'rollback', `Version ${versionIn(slice)} is older than ${least}`)
}
