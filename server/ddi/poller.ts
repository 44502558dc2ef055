import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { describePolled } from '../devices/polled-description.ts'
import { policyFor } from '../director/policy.ts'
import { DomainError } from '../errors.ts'
import { openStates } from '../protocol/deployment.ts'
import { leavesLine } from '../protocol/version-line.ts'
import { bucketOf } from '../rollouts/bucket.ts'
import { planOf } from '../rollouts/window-facts.ts'
import { windowVerdict } from '../rollouts/window-place.ts'
import { nextActionId } from './action-id.ts'
import { confirm } from './confirmation.ts'
import {
  findPoller,
  insertAction,
  lockNewestAction,
  type Poller,
  savePoller,
  setWantsAttributes,
  updateAction,
} from './device-store.ts'
import type { PollReader } from './poll-reader.ts'
import { type Shown, shownFor } from './present.ts'

export type DdiDeps = Pick<Context, 'config' | 'db' | 'clock' | 'metrics' | 'bus' | 'log'>

/** @throws DomainError `not-found` for a device that neither its model nor its enrollment profile lets poll */
export async function getPoller({ db }: Pick<Context, 'db'>, deviceId: string): Promise<Poller> {
  return found(await findPoller(db, deviceId), deviceId)
}

function found(poller: Poller | undefined, deviceId: string): Poller {
  if (poller) return poller
  throw new DomainError(
    'not-found',
    'This device does not poll: its model needs a DDI product, and its enrollment profile the model',
    { deviceId },
  )
}

/** The device, described if it comes for the first time: SWUpdate sends its attributes before it polls. */
export async function knownPoller(ctx: DdiDeps, deviceId: string, agent: string): Promise<Poller> {
  const poller = await getPoller(ctx, deviceId)
  if (isKnown(poller)) return poller
  await describe(ctx, poller, agent)
  return await getPoller(ctx, deviceId)
}

export interface Polled {
  poller: Poller
  shown: Shown
  /** A running rollout may take the device later. */
  waits: boolean
  /** Nothing to do, until something is announced that changes it. */
  isQuiet: boolean
}

/**
 * What a device is shown when it polls (ddi.md §9). A device that comes for the first time is described by its enrollment profile; one that
 * has nothing to do is met by the running rollouts. Without news: a share of one read.
 */
export async function poll(
  ctx: Context,
  reader: PollReader,
  { deviceId, agent }: { deviceId: string; agent: string },
): Promise<Polled> {
  let look = await reader.read(deviceId)
  if (look.poller && !isKnown(look.poller)) {
    await describe(ctx, look.poller, agent)
    look = await reader.read(deviceId)
  }
  const before = await confirmed(ctx, found(look.poller, deviceId))
  const { poller, shown } = await withAction(ctx, before, whatIsShown(before, ctx.clock.now()))
  const isQuiet =
    poller.deployment === null &&
    poller.wants_attributes === false &&
    (poller.action === null || poller.action.closed_at !== null)
  return { poller, shown, waits: look.waits, isQuiet }
}

/** Who agreed beforehand is asked nothing: the choice is recorded as if it had been made now. */
async function confirmed(ctx: Context, poller: Poller): Promise<Poller> {
  if (poller.auto_confirm_at === null) return poller
  if (whatIsShown(poller, ctx.clock.now()).link !== 'confirmationBase') return poller
  await confirm(ctx, poller, 'accept')
  return await getPoller(ctx, poller.device_id)
}

export function whatIsShown(poller: Poller, now: Date): Shown {
  const { deployment, action, profile } = poller
  if (!deployment) return { link: 'none', reason: 'nothing-to-do' }
  const isOurs = action?.deployment_id === deployment.id
  const { auto, forced } = choiceOf(poller, deployment, now)
  return shownFor(
    {
      profile,
      fileName: deployment.artifact_name,
      state: deployment.state,
      auto,
      forced,
      postponedUntil: deployment.postponed_until,
      changedAt: deployment.changed_at,
      attempts: deployment.attempts,
      stopped: deployment.stopped,
      paused: deployment.paused,
      window: windowVerdict(deployment.windows, bucketOf(deployment.seed, poller.device_id), now),
      overtaken: deployment.overtaken,
      started: isOurs && action.started_at !== null,
      closed: isOurs && action.closed_at !== null,
    },
    now,
  )
}

/**
 * What is said of the windows with an offer, to the clients that read it: whoever is shown one may install it, or is at it already. Outside
 * of them there is no offer (present.ts), so `unavailable` is never said. Undefined where nothing is limited.
 */
export function maintenanceWindowOf({ profile, deployment }: Poller): 'available' | undefined {
  const isRead = profile === 'rauc' || profile === 'generic'
  return isRead && deployment && !planOf(deployment.windows).isAlways ? 'available' : undefined
}

/** These clients know no policy: the server counts for their owners what an agent counts on the device (updates.md §7.2). */
function choiceOf(
  { managed }: Poller,
  deployment: NonNullable<Poller['deployment']>,
  now: Date,
): { auto: boolean; forced: boolean } {
  const { version, runs_version: runs, override_until: until } = deployment
  const policy = policyFor({
    class: deployment.class,
    advisory: deployment.advisory,
    notes: deployment.notes,
    managed,
    rollout: deployment.rollout_policy,
    model: deployment.model_policy,
    leavesLine: deployment.mixed_reason === null && runs !== null && leavesLine(runs, version),
  })
  const isOverridden = managed && until !== null && until > now
  const { first_offered_at: offeredAt, state } = deployment
  const limitMs = (policy.postpone?.totalH ?? 0) * 3_600_000
  const isDue =
    policy.auto &&
    policy.postpone !== undefined &&
    state !== 'opted_out' &&
    offeredAt !== null &&
    now.getTime() >= offeredAt.getTime() + limitMs
  return { auto: policy.auto, forced: isOverridden || isDue }
}

function isKnown({ controller_id, is_described }: Poller): boolean {
  return controller_id !== null && is_described
}

async function describe(ctx: DdiDeps, poller: Poller, agent: string): Promise<void> {
  const now = ctx.clock.now()
  const { device_id: deviceId, model, hardware_ids: hardwareIds } = poller
  await inTransaction(ctx.db, async (tx) => {
    const controllerId = poller.controller_id ?? deviceId
    await savePoller(tx, { device_id: deviceId, controller_id: controllerId, created_at: now })
    await describePolled(tx, { deviceId, model, hardwareIds, agent }, now)
  })
}

/** Gives what is shown its action id, and closes one that was never begun and is over. */
async function withAction(
  ctx: DdiDeps,
  poller: Poller,
  shown: Shown,
): Promise<{ poller: Poller; shown: Shown }> {
  const { action, deployment, device_id: deviceId } = poller
  const isOpen = action !== null && action.closed_at === null
  if (shown.link === 'none') {
    const isOver = deployment === null || !openStates.includes(deployment.state)
    const mayReturn = deployment?.state === 'lost' && shown.reason !== 'ended'
    if (isOpen && isOver && !mayReturn) await close(ctx, deviceId, action.id)
    return { poller, shown }
  }
  if (isOpen || deployment === null) return { poller, shown }
  const now = ctx.clock.now()
  await inTransaction(ctx.db, async (tx) => {
    const newest = await lockNewestAction(tx, deviceId)
    if (newest && newest.closed_at === null) return
    const id = nextActionId(newest?.id)
    if (id === undefined) {
      throw new DomainError('quota-exhausted', 'This device has used up all its action ids')
    }
    const row = { device_id: deviceId, id, deployment_id: deployment.id, created_at: now }
    await insertAction(tx, row)
  })
  return { poller: await getPoller(ctx, deviceId), shown }
}

async function close({ db, clock }: DdiDeps, device_id: string, id: number): Promise<void> {
  const closed_at = clock.now()
  await inTransaction(db, async (tx) => {
    await updateAction(tx, { device_id, id }, { closed_at })
    await setWantsAttributes(tx, device_id, true)
  })
}
