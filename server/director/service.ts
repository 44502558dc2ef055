import { canonicalize } from '../../pki/tuf/canonical.ts'
import { deviceEntry, type LogHead } from '../../pki/tuf/log-entry.ts'
import { recordAudits } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { signedNow } from '../measured.ts'
import { rootsIn } from '../metadata/authority.ts'
import { type CurrentMetadata, forgetCurrent, recentCurrent } from '../metadata/current.ts'
import { sha256Of } from '../metadata/online-files.ts'
import { type OnlineKeys, onlineKeysOf } from '../metadata/online-keys.ts'
import { signAgain } from '../metadata/publish.ts'
import { releaseRole } from '../metadata/roles.ts'
import type { BundleMessage, Have } from '../protocol/messages.ts'
import { appendEntries } from '../transparency/service.ts'
import { bundleOf } from './bundle.ts'
import { countedHave } from './counted.ts'
import { type Desired, desiredOf, PublishedBuilds } from './desired.ts'
import { formsFor } from './forms.ts'
import {
  claimsMore,
  filesAhead,
  haveOf,
  mayAnswer,
  mayJump,
  raiseAlarm,
  unixSeconds,
} from './have.ts'
import { type LogAnswer, logAnswers } from './log-answer.ts'
import { signDirectorFiles, signDirectorTimestamp } from './sign.ts'
import { saveStates, type StateChange } from './state-store.ts'
import { type DesiredRow, type DirectorState, readDesired } from './store.ts'
import { nextOfEach } from './window-turn.ts'

export { mayDownload } from './download-rights.ts'

export type DirectorDeps = Pick<Context, 'db' | 'clock' | 'kek' | 'log' | 'metrics'>

export interface BundleRequest {
  deviceId: string
  /** 32 lower hex, of the device's `hello`; without it the answer proves no time. */
  nonce?: string
  have: Have
}

/** What one device is told now: its signed files, newest. */
export interface Answer {
  request: BundleRequest
  state: DirectorState
  desired: Desired
  timestamp: string
  current: CurrentMetadata
  /** For a device that looks at the transparency log and has something to be shown. */
  log?: LogAnswer
}

/** Signed again before it runs out (updates.md 2.2: 7 d). */
const leastLeftMs = 2 * 86_400_000
const maxAttempts = 3

/**
 * The files each device lacks, as one message a device (updates.md 2.6). Set-based; signs outside of transactions and only
 * what changed, so a device that asks again and for which nothing changed costs one read and one signature.
 * Devices that are not active, or that must not be answered, are left out; so are all while no roots are imported.
 */
export async function bundlesFor(
  ctx: DirectorDeps,
  requests: readonly BundleRequest[],
): Promise<Map<string, BundleMessage>> {
  const answers = await answersFor(ctx, requests)
  return new Map(answers.map((answer) => [answer.request.deviceId, bundleOf(answer)]))
}

export async function answersFor(
  ctx: DirectorDeps,
  requests: readonly BundleRequest[],
): Promise<Answer[]> {
  const now = ctx.clock.now()
  const published = await recentCurrent(ctx.db)
  if (!published) return []
  const byDevice = new Map(
    requests
      .map((request) => ({ ...request, have: countedHave(request.have, published, now) }))
      .filter(({ deviceId, have }) => {
        if (mayAnswer(have, now)) return true
        raiseAlarm(ctx, 'timestamp-ahead', { deviceId, have: have.director ?? {} })
        return false
      })
      .map((request) => [request.deviceId, request]),
  )
  if (byDevice.size === 0) return []
  if ([...byDevice.values()].some(({ have }) => isAheadOnline(have, published))) {
    await jumpAbove(ctx, published)
  }
  const answers: Answer[] = []
  const waiting = new Set(byDevice.keys())
  for (let attempt = 1; waiting.size > 0 && attempt <= maxAttempts; attempt++) {
    const { rows: read, current } = await readTogether(ctx, [...waiting])
    const keys = await onlineKeysOf(ctx, rootsIn(current))
    if (!keys) {
      // Another process published a root with other keys this second.
      forgetCurrent(ctx.db)
      continue
    }
    const rows = read.filter(({ deviceId, state }) => {
      const have = byDevice.get(deviceId)?.have ?? {}
      return !claimsMore(have, state) || mayJump(ctx, deviceId)
    })
    const signed = await ensureSigned(ctx, rows, { byDevice, current, keys })
    const asked = signed.flatMap(({ row, desired, state }) => {
      const request = byDevice.get(row.deviceId)
      return request ? [{ request, desired, state, current }] : []
    })
    const logs = await logAnswers(ctx, asked)
    for (const one of asked) {
      const log = logs.get(one)
      const timestamp = timestampFor(one.request, { state: one.state, keys, now, log: log?.head })
      answers.push({ ...one, timestamp, ...(log && { log }) })
    }
    // Who lost a race is read again; who is not there any more is not.
    const lost = new Set(rows.map(({ deviceId }) => deviceId))
    for (const { row } of signed) lost.delete(row.deviceId)
    for (const id of waiting) if (!lost.has(id)) waiting.delete(id)
  }
  return answers
}

/** The desired state and a set of files that is not older than any release in it. */
async function readTogether(
  { db, clock }: DirectorDeps,
  deviceIds: string[],
): Promise<{ rows: DesiredRow[]; current: CurrentMetadata }> {
  const now = clock.now()
  const rows = nextOfEach(await readDesired(db, deviceIds, now), now)
  let current = await recentCurrent(db)
  const isOlder = rows.some(({ deployment }) => {
    if (!deployment) return false
    return [deployment.release, ...deployment.companions].some(
      ({ metadata_version: version, ...release }) =>
        (version ?? 0) > (current?.image.get(releaseRole(release).role)?.version ?? 0),
    )
  })
  if (isOlder) {
    forgetCurrent(db)
    current = await recentCurrent(db)
  }
  if (!current) throw new Error('Roots are never taken away')
  return { rows, current }
}

interface Signed {
  row: DesiredRow
  desired: Desired
  state: DirectorState
}

async function ensureSigned(
  ctx: DirectorDeps,
  rows: readonly DesiredRow[],
  known: {
    byDevice: ReadonlyMap<string, BundleRequest>
    current: CurrentMetadata
    keys: OnlineKeys
  },
): Promise<Signed[]> {
  const { byDevice, current, keys } = known
  const now = ctx.clock.now()
  const builds = new PublishedBuilds(current)
  const forms = await formsFor(ctx.db, rows, builds)
  const ready: Signed[] = []
  const changes: (Signed & StateChange)[] = []
  for (const row of rows) {
    const { deviceId, state } = row
    const have = byDevice.get(deviceId)?.have ?? {}
    const ahead = filesAhead(have, { current, state })
    if (ahead.length > 0) raiseAlarm(ctx, 'metadata-ahead', { deviceId, files: ahead })
    const desired = desiredOf(row, builds, forms)
    if (state && isGood(state, { desired, have, keys, now })) ready.push({ row, desired, state })
    else {
      const next = signedNow(ctx.metrics, 'director', () =>
        signNext(row, desired, { have, keys, now }),
      )
      changes.push({ row, desired, state: next, next, before: state })
    }
  }
  return [...ready, ...(await save(ctx, changes, now))]
}

function isGood(
  state: DirectorState,
  { desired, have, keys, now }: { desired: Desired; have: Have; keys: OnlineKeys; now: Date },
): boolean {
  return (
    state.content_hash === signedHash(desired, keys) &&
    state.expires_at.getTime() - now.getTime() > leastLeftMs &&
    haveOf(have, 'director', 'targets') <= state.targets_version &&
    haveOf(have, 'director', 'snapshot') <= state.snapshot_version
  )
}

/** Of the content and of the keys that signed it: after a root with other keys each device's files are signed again. */
function signedHash({ contentHash }: Desired, { director }: OnlineKeys): string {
  return sha256Of(canonicalize([contentHash, director.targets.tufKey, director.snapshot.tufKey]))
}

/** Above what the database and the device know (updates.md 2.5): also after a restored backup. */
function signNext(
  { deviceId, state }: DesiredRow,
  desired: Desired,
  { have, keys, now }: { have: Have; keys: OnlineKeys; now: Date },
): DirectorState {
  const next = (role: string, ours: number | undefined) =>
    Math.max(ours ?? 0, haveOf(have, 'director', role)) + 1
  const files = signDirectorFiles(keys.director, desired.content, {
    targetsVersion: next('targets', state?.targets_version),
    snapshotVersion: next('snapshot', state?.snapshot_version),
    now,
  })
  return {
    device_id: deviceId,
    targets_version: files.targetsVersion,
    snapshot_version: files.snapshotVersion,
    targets: files.targets,
    snapshot: files.snapshot,
    content_hash: signedHash(desired, keys),
    artifact_sha256s: desired.sha256s,
    expires_at: files.expiresAt,
    signed_at: now,
  }
}

/** Stores and audits what was signed, where no other process was quicker; gives those. */
async function save(
  { db }: DirectorDeps,
  changes: readonly (Signed & StateChange)[],
  now: Date,
): Promise<Signed[]> {
  if (changes.length === 0) return []
  const saved = await inTransaction(db, async (tx) => {
    const ids = await saveStates(tx, changes)
    const stored = changes.filter(({ row }) => ids.has(row.deviceId))
    const entries = stored.map(({ state }) => deviceEntry(sha256Of(state.targets)))
    await appendEntries(tx, entries, now)
    await recordAudits(
      tx,
      stored.map(({ row: { deviceId }, desired: { content }, state }) => ({
        at: now,
        actor: 'system',
        action: 'director.sign',
        subject: deviceId,
        facts: {
          version: state.targets_version,
          sha256: sha256Of(state.targets),
          deploymentId: content.deploymentId ?? null,
          paths: Object.keys(content.targets),
        },
      })),
    )
    return ids
  })
  return changes.filter(({ row }) => saved.has(row.deviceId))
}

/** So that a device which lost newer targets is not answered far ahead of the clock. */
const maxUnseen = 8

function timestampFor(
  { nonce, have }: BundleRequest,
  known: { state: DirectorState; keys: OnlineKeys; now: Date; log: LogHead | undefined },
): string {
  const { state, keys, now, log } = known
  // Above what may have been answered to the same `have`, or in the same second, before this was signed: a device discards an
  // equal version, and would not see what is new (updates.md 2.5).
  const held = haveOf(have, 'director', 'targets')
  const unseen = held === 0 ? 0 : state.targets_version - held
  const version = Math.max(
    unixSeconds(now),
    unixSeconds(state.signed_at) + 1,
    haveOf(have, 'director', 'timestamp') + 1 + Math.min(Math.max(unseen, 0), maxUnseen),
  )
  const files = { snapshot: state.snapshot, snapshotVersion: state.snapshot_version }
  return signDirectorTimestamp(keys.director, files, {
    version,
    now,
    ...(nonce === undefined ? {} : { nonce }),
    ...(log && { log }),
  })
}

/** Of the image files that this server signs itself. */
function isAheadOnline(have: Have, { image }: CurrentMetadata): boolean {
  return ['snapshot', 'timestamp'].some(
    (role) => haveOf(have, 'image', role) > (image.get(role)?.version ?? 0),
  )
}

const leastBetweenJumpsMs = 60_000

/**
 * A device holds newer image files of the online roles: they are signed again, with the clock as version, which is above
 * all that this server ever signed. Nothing a device says enters the version, and once a minute is enough.
 */
async function jumpAbove(ctx: DirectorDeps, current: CurrentMetadata): Promise<void> {
  const last = current.image.get('timestamp')?.publishedAt.getTime() ?? 0
  if (ctx.clock.now().getTime() - last < leastBetweenJumpsMs) return
  await signAgain(ctx, current, { snapshot: true })
}
