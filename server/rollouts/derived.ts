import { randomBytes } from 'node:crypto'

import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Db, Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { SettingColumns } from './columns.ts'
import { definitionHash } from './definition.ts'
import { countWaysBack, findOpenChild, freezeFailed, freezeWaysBack } from './rollback-store.ts'
import {
  companionsOf,
  findRollout,
  getRollout,
  insertRollout,
  isPublished,
  lockRollout,
  type Rollout,
  releasesById,
  sealDefinition,
} from './store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'config'>

/** A rollout that is made of another one: to try again what failed, or to take back what it did. */
export interface DeriveCommand {
  id: string
  /** The one that it is made of. */
  rolloutId: string
  name?: string | undefined
  actor: string
  requestId?: string
}

/**
 * Drafts a rollout of the same release for the devices that failed, with its own counters (rollouts.md §9). Who that is is
 * fixed now, in one statement. Safe to repeat with the same id. Throws `illegal-transition` for one that did not start,
 * `not-ready` when nothing failed or the release is not published, and `conflict` while another retry of it is open.
 */
export async function retryFailed(ctx: Deps, command: DeriveCommand): Promise<Rollout> {
  return await derive(ctx, command, 'retry', async (tx, parent, now) => {
    const { release_id: releaseId } = parent
    if (releaseId === null || !(await isPublished(tx, releaseId))) {
      throw new DomainError('not-ready', 'The release is not published', { releaseId })
    }
    return await draftRetry(tx, { ...command, parent, now, least: ctx.config.rolloutApprovals })
  })
}

/**
 * Drafts a rollout that gives devices back what they had before this one (rollouts.md §9): those that came to `succeeded`,
 * `testing` or `lost`, where `rollback-store.ts` finds a way. Its priority is above. Throws as `retryFailed` does, and
 * `illegal-transition` while the rollout still admits devices, which would be given what others are rid of.
 */
export async function rollBack(ctx: Deps, command: DeriveCommand): Promise<Rollout> {
  return await derive(ctx, command, 'rollback', async (tx, parent, now) => {
    if (parent.state === 'running') {
      throw new DomainError('illegal-transition', 'It still admits devices: pause or cancel it', {
        state: parent.state,
      })
    }
    await mustBeAlone(tx, parent)
    const least = ctx.config.rolloutApprovals
    const draft = await draftRollback(tx, { ...command, parent, now, least })
    if (draft) return draft
    throw new DomainError('not-ready', 'No device of it can go back to what it had', {
      next: `GET /rollouts/${parent.id}/rollback says why`,
    })
  })
}

async function derive(
  { db, clock }: Deps,
  { id, rolloutId }: DeriveCommand,
  kind: 'retry' | 'rollback',
  draft: (tx: Tx, parent: Rollout, now: Date) => Promise<Rollout>,
): Promise<Rollout> {
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    const repeated = await findRollout(tx, id)
    if (repeated) return repeated
    // Two at once would each find no other one open.
    const parent = await lockRollout(tx, rolloutId)
    if (parent.phase_no === 0 || parent.kind === 'certificate' || parent.kind === 'rollback') {
      const what = parent.phase_no === 0 ? 'did not start' : `is a ${parent.kind} rollout`
      throw new DomainError('illegal-transition', `Nothing to ${words[kind]}: it ${what}`, {
        state: parent.state,
        kind: parent.kind,
      })
    }
    const open = await findOpenChild(tx, rolloutId, kind)
    if (open !== undefined) {
      throw new DomainError('conflict', `Another ${kind} of it is open: start or cancel that`, {
        rolloutId: open,
      })
    }
    return await draft(tx, parent, now)
  })
}

const words = { retry: 'try again', rollback: 'take back' } as const

/** Sets of components go forward together; which ones ran together before is not kept, so nobody can give them back. */
async function mustBeAlone(db: Db, { id }: Rollout): Promise<void> {
  const [along] = await companionsOf(db, [id])
  if (along) {
    throw new DomainError(
      'not-ready',
      'A rollout of several components cannot be taken back as one: make a rollout of releases with higher builds',
      { with: along.release_id },
    )
  }
}

interface Draft extends Omit<DeriveCommand, 'rolloutId'> {
  parent: Rollout
  now: Date
  /** Approvals that this server demands. */
  least: number
}

async function draftRetry(tx: Tx, draft: Draft): Promise<Rollout> {
  const { id, parent } = draft
  const along = await companionsOf(tx, [parent.id])
  const releases = await releasesById(
    tx,
    along.map((one) => one.release_id),
  )
  const settings = {
    abort_rules: JSON.stringify(parent.abort_rules),
    limits: JSON.stringify(parent.limits),
    install_window: asColumn(parent.install_window),
    ignore_windows: asColumn(parent.ignore_windows),
    query: parent.query,
    names_groups: parent.names_groups,
    pass_queue: parent.pass_queue,
    priority: parent.priority,
  }
  const row = { kind: 'retry' as const, release_id: parent.release_id, ...settings }
  return await draftFor(tx, draft, row, releases, async () => {
    const devices = await freezeFailed(tx, { rolloutId: id, parentId: parent.id })
    if (devices > 0) return devices
    throw new DomainError('not-ready', 'No device of it failed', { rolloutId: parent.id })
  })
}

function asColumn(stored: unknown): string | null {
  return stored === null ? null : JSON.stringify(stored)
}

const above = 100
const highest = 1_000

/** Undefined when no device can go back. Its release is the one that most devices go back to; each gets its own. */
export async function draftRollback(tx: Tx, draft: Draft): Promise<Rollout | undefined> {
  const { id, parent } = draft
  const [most] = await countWaysBack(tx, { rolloutId: parent.id, reach: 'fleet' })
  if (!most || most.reason !== null || most.release_id === null) return undefined
  const row = {
    kind: 'rollback' as const,
    release_id: most.release_id,
    priority: Math.min(highest, parent.priority + above),
  }
  return await draftFor(tx, draft, row, [], async () => {
    return await freezeWaysBack(tx, { rolloutId: id, parentId: parent.id })
  })
}

/** One phase, for exactly the devices that `freeze` writes down; in the same slots as the one that it is made of. */
async function draftFor(
  tx: Tx,
  { id, parent, name, actor, requestId, now, least }: Draft,
  row: {
    kind: 'retry' | 'rollback'
    release_id: string | null
    priority: number
  } & SettingColumns,
  companions: readonly { id: string; component: string }[],
  freeze: () => Promise<number>,
): Promise<Rollout> {
  const isOwn = actor === 'system'
  const rollout = {
    id,
    name: name ?? `${parent.name} (${row.kind})`.slice(0, 200),
    group_id: parent.group_id,
    seed: randomBytes(16),
    parent_id: parent.id,
    max_in_flight: parent.max_in_flight,
    bytes_per_minute: parent.bytes_per_minute,
    // What a rule does was approved with the rule.
    approvals_needed: isOwn ? 0 : Math.max(least, parent.approvals_needed),
    created_by: actor,
    created_at: now,
    changed_at: now,
    ...row,
  }
  const stored = await insertRollout(tx, rollout, [onePhase], companions)
  if (!stored) return await getRollout(tx, id)
  const devices = await freeze()
  const along = companions.map((one) => ({ release_id: one.id }))
  const hash = definitionHash({ ...stored, companions: along })
  const facts = {
    name: rollout.name,
    kind: row.kind,
    parentId: parent.id,
    releaseId: row.release_id,
    devices,
    definitionHash: hash.toString('hex'),
  }
  await recordAudit(tx, {
    at: now,
    actor,
    action: 'rollout.create',
    subject: id,
    facts,
    ...(requestId === undefined ? {} : { requestId }),
  })
  return await sealDefinition(tx, id, hash)
}

const onePhase = {
  no: 1,
  kind: 'cohort' as const,
  percent: null,
  success_percent: 0,
  min_executed: 1,
  hold: false,
}
