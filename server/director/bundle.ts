import type { CurrentMetadata } from '../metadata/current.ts'
import type { BundleMessage } from '../protocol/messages.ts'
import { haveOf } from './have.ts'
import type { Answer } from './service.ts'

/** A device walks at most so many roots in one run (updates.md 3.4); the next run gets the rest. */
const maxRoots = 64

/** Exact texts of the files the device lacks: its timestamp always, the others when it holds another version. */
export function bundleOf(answer: Answer): BundleMessage {
  const { request, state, desired, timestamp, current } = answer
  const { have } = request
  const director: Record<string, string> = {
    ...rootsAfter(current.roots.director, haveOf(have, 'director', 'root')),
    'timestamp.json': timestamp,
  }
  if (haveOf(have, 'director', 'snapshot') !== state.snapshot_version) {
    director[`${state.snapshot_version}.snapshot.json`] = state.snapshot
  }
  if (haveOf(have, 'director', 'targets') !== state.targets_version) {
    director[`${state.targets_version}.targets.json`] = state.targets
  }
  // Nothing to install: a device does not look at images then (updates.md section 4 step 5).
  const image = desired.imageRoles.length === 0 ? {} : imageFiles(answer)
  return withinCap({ director, image, ...(answer.log && { log: answer.log.proofs }) })
}

/** What a device takes, after decompression (updates.md 2.6). */
const maxBundleBytes = 65_536

/**
 * A device that lacks more than fits gets roots alone, as many as do, follows them and asks again (pki/tuf/roots.ts): a chain of hybrid
 * roots may be longer than a bundle.
 */
function withinCap(bundle: BundleMessage): BundleMessage {
  if (sizeOf(bundle) <= maxBundleBytes) return bundle
  const ahead: BundleMessage = { director: {}, image: {} }
  for (const repository of ['director', 'image'] as const) {
    for (const [name, text] of Object.entries(bundle[repository])) {
      if (!name.endsWith('.root.json')) continue
      const more = { ...ahead, [repository]: { ...ahead[repository], [name]: text } }
      if (sizeOf(more) > maxBundleBytes) break
      Object.assign(ahead, more)
    }
  }
  return Object.keys({ ...ahead.director, ...ahead.image }).length > 0 ? ahead : bundle
}

function sizeOf(bundle: BundleMessage): number {
  return Buffer.byteLength(JSON.stringify(bundle))
}

function imageFiles({ request, current, desired }: Answer): Record<string, string> {
  const { have } = request
  const files = rootsAfter(current.roots.image, haveOf(have, 'image', 'root'))
  for (const role of ['timestamp', 'snapshot', 'targets', ...desired.imageRoles]) {
    const file = current.image.get(role)
    if (!file || haveOf(have, 'image', role) === file.version) continue
    files[fileNameOf(role, file.version)] = file.text
  }
  return files
}

/** As it is served: the timestamp alone has no version in its name (updates.md 2.1). */
function fileNameOf(role: string, version: number): string {
  const name = `${encodeURIComponent(role)}.json`
  return role === 'timestamp' ? name : `${version}.${name}`
}

/** Every device was made with root 1. */
function rootsAfter(
  roots: CurrentMetadata['roots']['image'],
  held: number,
): Record<string, string> {
  const first = Math.max(1, held)
  return Object.fromEntries(
    roots
      .slice(first, first + maxRoots)
      .map((text, index) => [`${first + index + 1}.root.json`, text]),
  )
}
