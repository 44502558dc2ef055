import type { DeliveryEntry } from '../../pki/tuf/types.ts'
import type { Db } from '../db/client.ts'
import type { PublishedBuilds } from './desired.ts'
import { type DesiredRow, readForms } from './store.ts'

type Form = Awaited<ReturnType<typeof readForms>>[number]

/** Ways to a target that are shorter than the target, best first: deltas before zstd. */
export class TargetForms {
  readonly #byTarget: ReadonlyMap<string, readonly Form[]>

  constructor(byTarget: ReadonlyMap<string, readonly Form[]>) {
    this.#byTarget = byTarget
  }

  /**
   * Those that this device can use: a delta needs the image it starts from. What was named to it before stays named, for else
   * every device would be signed for once more when it runs the new image.
   */
  for(
    { installed, state }: Pick<DesiredRow, 'installed' | 'state'>,
    target: { sha256: string; length: number },
  ): DeliveryEntry[] {
    return (this.#byTarget.get(target.sha256) ?? [])
      .filter(
        ({ base_sha256: base, sha256 }) =>
          base === null || installed.includes(base) || state?.artifact_sha256s.includes(sha256),
      )
      .filter(({ length }) => length < target.length)
      .slice(0, maxForms)
      .map(entryOf)
  }
}

export const noForms = new TargetForms(new Map())

/** Of one target, to one device. */
const maxForms = 4

function entryOf(form: Form): DeliveryEntry {
  const { method, length, sha256, base_sha256, index_length, index_sha256 } = form
  return {
    m: method,
    length,
    sha256,
    ...(base_sha256 !== null && { base: base_sha256 }),
    ...(index_length !== null &&
      index_sha256 !== null && { index: { length: index_length, sha256: index_sha256 } }),
  }
}

/** What was made is never changed; what is new is seen after this time. */
const rememberedMs = 10_000
const maxRemembered = 1_000
const remembered = new WeakMap<Db, Map<string, { until: number; forms: readonly Form[] }>>()

/** The forms of all that these devices are to be told of, read at most every ten seconds. */
export async function formsFor(
  db: Db,
  rows: readonly DesiredRow[],
  builds: PublishedBuilds,
): Promise<TargetForms> {
  const wanted = new Set(
    rows.flatMap(({ deployment }) =>
      deployment
        ? [deployment.release, ...deployment.companions].flatMap(
            (release) => builds.find(release)?.target.hashes['sha256'] ?? [],
          )
        : [],
    ),
  )
  const known = remembered.get(db) ?? new Map<string, { until: number; forms: Form[] }>()
  remembered.set(db, known)
  const now = performance.now()
  const missing = [...wanted].filter((sha256) => (known.get(sha256)?.until ?? 0) <= now)
  if (missing.length > 0) {
    const read = Map.groupBy(await readForms(db, missing), (form) => form.target_sha256)
    for (const sha256 of missing) {
      known.delete(sha256)
      known.set(sha256, { until: now + rememberedMs, forms: read.get(sha256) ?? [] })
    }
  }
  const found = new Map([...wanted].map((sha256) => [sha256, known.get(sha256)?.forms ?? []]))
  for (const oldest of known.keys()) {
    if (known.size <= maxRemembered) break
    known.delete(oldest)
  }
  return new TargetForms(found)
}

/** For whoever made one and wants it to be seen at once. */
export function forgetForms(db: Db): void {
  remembered.delete(db)
}
