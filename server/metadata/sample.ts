import { randomBytes } from 'node:crypto'

import { newTrustedState } from '../../pki/tuf/bundle.ts'
import { decodeEnvelope } from '../../pki/tuf/envelope.ts'
import { VerificationError } from '../../pki/tuf/errors.ts'
import { componentOf } from '../../pki/tuf/publish-check.ts'
import { readRoot } from '../../pki/tuf/read.ts'
import { isRootsOnly, takeRoots } from '../../pki/tuf/roots.ts'
import type {
  Bundle,
  DeviceFacts,
  DirectorTarget,
  ImageTarget,
  TrustedState,
} from '../../pki/tuf/types.ts'
import { verifyBundle } from '../../pki/tuf/verify.ts'
import { signDirectorFiles, signDirectorTimestamp } from '../director/sign.ts'
import { DomainError } from '../errors.ts'
import { type CurrentMetadata, fileOf } from './current.ts'
import { targetsIn } from './drafts.ts'
import type { OnlineKeys } from './online-keys.ts'
import { modelOf, type RoleRef } from './roles.ts'

/** A device that does not exist; its director files never leave this process. */
const deviceId = '00000000-0000-7000-8000-000000000000'

/** What a sample device is told to install. */
interface Wish {
  model: string
  /** That lists it. */
  role: string
  path: string
  target: ImageTarget
}

/**
 * Runs the device's own verifier on what is about to be published (updates.md 3.2), for a new device that knows only the first
 * roots and for one that holds what is published now: every build of the model whose file changes, or one build of each
 * model when another role does. Throws DomainError `conflict` with the code a device would report.
 */
export function verifySamples(
  keys: Record<'before' | 'after', OnlineKeys['director']>,
  sets: { before: CurrentMetadata; after: CurrentMetadata; changed: RoleRef },
  now: Date,
): void {
  const { before, after, changed } = sets
  const model = modelOf(changed)
  const wishes = wishesOf(after, now)
  const samples =
    model === undefined ? onePerModel(wishes) : wishes.filter((wish) => wish.model === model)
  const held = heldState(keys.before, before)
  for (const wish of samples) {
    for (const state of [firstState(after), held]) {
      verifyOne({ keys: keys.after, set: after, wish, state, now })
    }
  }
}

/** A file that ran out keeps no other model from being published. */
function wishesOf({ image }: CurrentMetadata, now: Date): Wish[] {
  return [...image.values()].flatMap(({ repository, role, text, expiresAt }) => {
    const model = modelOf({ repository, role })
    if (model === undefined || expiresAt <= now) return []
    return Object.entries(targetsIn(text).targets).map(([path, target]) => ({
      model,
      role,
      path,
      target,
    }))
  })
}

function onePerModel(wishes: Wish[]): Wish[] {
  return [...new Map(wishes.map((wish) => [wish.model, wish])).values()]
}

function firstState({ roots }: CurrentMetadata): TrustedState {
  return newTrustedState({ director: roots.director[0] ?? '', image: roots.image[0] ?? '' })
}

/** What a device trusts that took in every model when the timestamp of the set before was new. */
function heldState(keys: OnlineKeys['director'], set: CurrentMetadata): TrustedState {
  const now = fileOf(set, 'timestamp').publishedAt
  let state = firstState(set)
  try {
    for (const wish of onePerModel(wishesOf(set, now))) {
      state = verifyOne({ keys, set, wish, state, now })
    }
  } catch (error) {
    // What is published has run out, and what is coming may be its renewal: no device holds it as fresh.
    if (!(error instanceof DomainError && error.facts['attackCode'] === 'freeze')) throw error
  }
  return state
}

interface Sample {
  keys: OnlineKeys['director']
  set: CurrentMetadata
  wish: Wish
  state: TrustedState
  now: Date
}

function verifyOne(sample: Sample): TrustedState {
  const { wish, state, now } = sample
  const nonce = randomBytes(16).toString('hex')
  try {
    const facts = factsOf(sample)
    const { roots, rest } = bundlesOf(sample, nonce)
    // Roots that do not fit beside the rest go ahead of it (director/bundle.ts).
    const walked = isRootsOnly(roots) ? followAll(state, roots, facts) : state
    const { state: after } = verifyBundle(walked, rest, facts, { nonce })
    // The next one is another device of the same knowledge of images.
    return { ...after, director: firstState(sample.set).director, svn: {} }
  } catch (error) {
    if (!(error instanceof VerificationError)) throw error
    throw new DomainError(
      'conflict',
      `A device would refuse ${wish.path} (${error.code}): ${error.message}`,
      { attackCode: error.code, path: wish.path, at: now.toISOString() },
      { cause: error },
    )
  }
}

/** A device that the build is made for: right hardware, mandatory steps taken, other components new enough. */
function factsOf({ set, wish }: Sample): DeviceFacts {
  const { match } = wish.target.custom
  const root = readRoot(decodeEnvelope(Buffer.from(set.roots.image.at(-1) ?? ''), 65_536).signed)
  const required = Object.entries(match.requires ?? {}).map(([name, build]) => [
    name,
    { build, svn: 0 },
  ])
  return {
    deviceId,
    model: wish.model,
    hardwareIds: match.hardwareIds,
    components: {
      ...Object.fromEntries(required),
      [componentOf(wish.path)]: { build: match.minPrev ?? 0, svn: 0 },
    },
    allowEvaluation: root['x-evaluation'] === true,
  }
}

/** Each root by itself: all of them may be more than a bundle. */
function followAll(state: TrustedState, roots: Bundle, facts: DeviceFacts): TrustedState {
  let walked = state
  for (const repository of ['director', 'image'] as const) {
    for (const [name, text] of Object.entries(roots[repository])) {
      const held = decodeEnvelope(Buffer.from(walked[repository].root), 65_536)
      if (Number.parseInt(name, 10) <= readRoot(held.signed).version) continue
      const one: Bundle = { director: {}, image: {}, [repository]: { [name]: text } }
      walked = takeRoots(walked, one, facts)
    }
  }
  return walked
}

function bundlesOf(
  { keys, set, wish, now }: Sample,
  nonce: string,
): { roots: Bundle; rest: Bundle } {
  const { path, target } = wish
  const { length, hashes, custom } = target
  const wanted: DirectorTarget = {
    length,
    hashes,
    custom: {
      component: componentOf(path),
      delivery: [{ m: 'full', length, sha256: hashes['sha256'] ?? '' }],
      deviceId,
      match: custom.match,
      v: 1,
    },
  }
  const files = signDirectorFiles(
    keys,
    { deviceId, targets: { [path]: wanted } },
    { targetsVersion: 1, snapshotVersion: 1, now },
  )
  const image = Object.fromEntries(
    ['timestamp', 'snapshot', 'targets', wish.role].flatMap((role) => {
      const file = set.image.get(role)
      const name = role === 'timestamp' ? 'timestamp.json' : `${file?.version}.${role}.json`
      return file ? [[name, file.text]] : []
    }),
  )
  const roots = {
    director: rootsAfterFirst(set.roots.director),
    image: rootsAfterFirst(set.roots.image),
  }
  const rest = {
    director: {
      'timestamp.json': signDirectorTimestamp(keys, files, { version: 1, nonce, now }),
      '1.snapshot.json': files.snapshot,
      '1.targets.json': files.targets,
    },
    image,
  }
  return { roots, rest }
}

function rootsAfterFirst(roots: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    roots.slice(1).map((text, index) => [`${index + 2}.root.json`, text] as const),
  )
}
