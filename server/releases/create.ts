import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { highestPublished } from '../metadata/checks.ts'
import { isSettings } from '../metadata/roles.ts'
import { requireFitting } from './image-fit.ts'
import { requireOnLine } from './lines.ts'
import {
  artifactExists,
  findModelHardware,
  findRelease,
  getRelease,
  insertRelease,
  type Release,
  wasPublished,
} from './store.ts'
import type { Advisory, MixedReason } from './wire.ts'

export interface CreateRelease {
  id: string
  model: string
  component: string
  version: string
  build: number
  svn?: number | undefined
  class: Release['class']
  artifactId: string
  hardwareIds: string[]
  minPrevious?: number | undefined
  requires: Record<string, number>
  fixes: string[]
  notes: string
  advisory?: Advisory | undefined
  mixedReason?: MixedReason | undefined
  actor: string
  requestId?: string
}

/**
 * Makes a draft of a release. The same id again gives the same release. Throws DomainError `invalid-request` for what can
 * never be published, `conflict` when the version or build is taken.
 */
export async function createRelease(
  ctx: Pick<Context, 'db' | 'clock' | 'storage' | 'log'>,
  command: CreateRelease,
): Promise<Release> {
  requireSensible(command)
  const { db, clock } = ctx
  // Reading an image takes as long as it is: never in a transaction. What was made already was looked at.
  if (!(await findRelease(db, command.id)) && (await artifactExists(db, command.artifactId))) {
    await requireFitting(ctx, command)
  }
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    const existing = await findRelease(tx, command.id)
    if (existing) return existing
    const svn = await requirePossible(tx, command)
    if (!(await insertRelease(tx, rowOf(command, { svn, now })))) throw taken(command)
    const { id, model, component, version, build, actor, requestId } = command
    await recordAudit(tx, {
      at: now,
      actor,
      action: 'release.create',
      subject: id,
      facts: {
        model,
        component,
        version,
        build,
        svn,
        class: command.class,
        mixedReason: command.mixedReason ?? null,
      },
      ...(requestId ? { requestId } : {}),
    })
    return await getRelease(tx, id)
  })
}

function requireSensible(command: CreateRelease): void {
  const { component, build, minPrevious = 0, requires } = command
  requireTold(command)
  if (isSettings(component) && command.class !== 'config') {
    throw new DomainError('invalid-request', `A release of ${component} has the class config`, {
      at: 'class',
    })
  }
  if (minPrevious >= build && minPrevious > 0) {
    throw new DomainError('invalid-request', 'minPrevious must be lower than build', {
      at: 'minPrevious',
    })
  }
  if (Object.hasOwn(requires, component)) {
    throw new DomainError('invalid-request', 'A release cannot require its own component', {
      at: 'requires',
    })
  }
}

/** Whoever calls a release a fix says what it fixes, in numbers and in words (updates.md 3.2). */
function requireTold({ class: kind, fixes, advisory, mixedReason }: CreateRelease): void {
  if (kind !== 'security') {
    if (mixedReason === undefined) return
    throw new DomainError('invalid-request', 'Only a security release can be mixed with features', {
      at: 'mixedReason',
    })
  }
  const hasText = (advisory?.text?.trim() ?? '') !== ''
  if (fixes.length > 0 && hasText) return
  throw new DomainError(
    'invalid-request',
    'A security release names what it fixes (fixes) and has an advisory with a text for the owners',
    { at: fixes.length === 0 ? 'fixes' : advisory ? 'advisory.text' : 'advisory' },
  )
}

/** What depends on the database. Gives the security version to use. */
async function requirePossible(db: Db, command: CreateRelease): Promise<number> {
  const { model, component, build, artifactId, hardwareIds } = command
  const known = await findModelHardware(db, model)
  const unknown = hardwareIds.find((id) => !known.includes(id))
  if (unknown !== undefined) {
    throw new DomainError('invalid-request', `${unknown} is no hardware of ${model}`, {
      at: 'hardwareIds',
    })
  }
  if (!(await artifactExists(db, artifactId))) {
    throw new DomainError('invalid-request', 'No such artifact', { at: 'artifactId' })
  }
  if (await wasPublished(db, command)) {
    throw new DomainError('conflict', 'This version was published before', { at: 'version' })
  }
  const highest = (await highestPublished(db, model)).get(component)
  const svn = command.svn ?? highest?.svn ?? 0
  requireRising({ build, svn }, highest)
  await requireOnLine(db, { ...command, isMixed: command.mixedReason !== undefined })
  return svn
}

/** Also asked again at submission: others may have been published meanwhile. */
export function requireRising(
  { build, svn }: { build: number; svn: number },
  highest: { build: number; svn: number } | undefined,
): void {
  if (!highest) return
  if (build <= highest.build) {
    throw new DomainError(
      'conflict',
      `build must be above ${highest.build}, the highest published`,
      {
        at: 'build',
        highest: highest.build,
      },
    )
  }
  if (svn < highest.svn) {
    throw new DomainError(
      'conflict',
      `svn may not be below ${highest.svn}, the highest published`,
      {
        at: 'svn',
        highest: highest.svn,
      },
    )
  }
}

function rowOf(command: CreateRelease, { svn, now }: { svn: number; now: Date }) {
  return {
    id: command.id,
    model: command.model,
    component: command.component,
    version: command.version,
    build: command.build,
    svn,
    class: command.class,
    artifact_id: command.artifactId,
    hardware_ids: command.hardwareIds,
    min_previous: command.minPrevious ?? null,
    requires: JSON.stringify(command.requires),
    fixes: command.fixes,
    notes: command.notes,
    advisory: command.advisory ? JSON.stringify(command.advisory) : null,
    mixed_reason: command.mixedReason ? JSON.stringify(command.mixedReason) : null,
    created_by: command.actor,
    created_at: now,
  }
}

function taken({ model, component }: CreateRelease): DomainError {
  const message = 'This version or build of the component is there already'
  return new DomainError('conflict', message, { model, component })
}
