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
  const image = desired.imageRole === undefined ? {} : imageFiles(answer, desired.imageRole)
  return { director, image, ...(answer.log && { log: answer.log.proofs }) }
}

function imageFiles({ request, current }: Answer, modelRole: string): Record<string, string> {
  const { have } = request
  const files = rootsAfter(current.roots.image, haveOf(have, 'image', 'root'))
  for (const role of ['timestamp', 'snapshot', 'targets', modelRole]) {
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
