import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { uuidPattern } from '../ids.ts'
import type { Reach } from '../protocol/reach.ts'
import { isDeviceId, type Poller, savePoller } from './device-store.ts'
import { getPoller, whatIsShown } from './poller.ts'
import type { Shown } from './present.ts'
import {
  deleteLine,
  findLine,
  findProduct,
  type Line,
  modelExists,
  type Product,
  profileExists,
  saveLine,
  saveProduct,
  unknownHardware,
} from './product-store.ts'
import { findToken, type Token } from './token-store.ts'
import type { LineBody, ProductBody } from './wire.ts'

type Deps = Pick<Context, 'db' | 'clock'>

interface By {
  actor: string
  requestId: string
}

/** @throws DomainError `not-found` for a model without one */
export async function getProduct({ db }: Pick<Context, 'db'>, model: string): Promise<Product> {
  const product = await findProduct(db, model)
  if (product) return product
  throw new DomainError('not-found', 'Devices of this model do not poll: it has no DDI product', {
    model,
  })
}

/** Lets devices of a model poll, or says anew how they do. Saying the same again changes and records nothing. */
export async function setProduct(
  { db, clock }: Deps,
  { model, body, actor, requestId }: By & { model: string; body: ProductBody },
): Promise<Product> {
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    if (!(await modelExists(tx, model)))
      throw new DomainError('not-found', 'No such model', { model })
    const before = await findProduct(tx, model)
    const {
      profile,
      component,
      versionAttribute: version_attribute,
      pollSeconds: poll_seconds,
    } = body
    const part = body.part ?? (profile === 'zephyr' ? 'bApp' : 'os')
    const rules = { profile, component, part, version_attribute, poll_seconds }
    const product = { model, ...rules, changed_at: now }
    if (before && isSame(before, product)) return before
    await saveProduct(tx, product)
    const from = before ? { ...before, changed_at: undefined } : null
    const what = { action: 'ddi.product', subject: model, facts: { from, to: rules } }
    await recordAudit(tx, { at: now, actor, requestId, ...what })
    return product
  })
}

function isSame(a: Product, b: Product): boolean {
  return (
    a.profile === b.profile &&
    a.component === b.component &&
    a.part === b.part &&
    a.version_attribute === b.version_attribute &&
    a.poll_seconds === b.poll_seconds
  )
}

/** @throws DomainError `not-found` for a profile whose devices do not poll */
export async function getLine({ db }: Pick<Context, 'db'>, profileId: string): Promise<Line> {
  const line = await findLine(db, profileId)
  if (line) return line
  throw new DomainError('not-found', 'Devices of this enrollment profile do not poll', {
    profileId,
  })
}

/**
 * Says what the devices of an enrollment profile are, so that they may poll. Devices that polled before keep what they are.
 *
 * @throws DomainError `not-found` for a profile or a model without product, `invalid-request` for hardware that the model does not have
 */
export async function setLine(
  { db, clock }: Deps,
  { profileId, body, actor, requestId }: By & { profileId: string; body: LineBody },
): Promise<Line> {
  const now = clock.now()
  const { model, hardwareIds } = body
  return await inTransaction(db, async (tx) => {
    if (!(await profileExists(tx, profileId))) {
      throw new DomainError('not-found', 'No such enrollment profile', { profileId })
    }
    await getProduct({ db: tx }, model)
    const unknown = await unknownHardware(tx, model, hardwareIds)
    if (unknown.length > 0) {
      throw new DomainError('invalid-request', `The model has no hardware ${unknown.join(', ')}`, {
        issues: [{ at: 'hardwareIds', message: `not of this model: ${unknown.join(', ')}` }],
      })
    }
    const line = {
      enrollment_profile_id: profileId,
      model,
      hardware_ids: hardwareIds,
      changed_at: now,
    }
    await saveLine(tx, line)
    const what = { action: 'ddi.line', subject: profileId, facts: { model, hardwareIds } }
    await recordAudit(tx, { at: now, actor, requestId, ...what })
    return line
  })
}

export async function removeLine(
  { db, clock }: Deps,
  { profileId, actor, requestId }: By & { profileId: string },
): Promise<void> {
  const at = clock.now()
  await inTransaction(db, async (tx) => {
    if (!(await deleteLine(tx, profileId))) return
    await recordAudit(tx, {
      at,
      actor,
      requestId,
      action: 'ddi.line-remove',
      subject: profileId,
      facts: {},
    })
  })
}

/**
 * Records what a device calls itself in the path of its requests (Zephyr: `<BOARD>-<hardware id>`).
 *
 * @throws DomainError `not-found` for a device that does not poll, `conflict` when another one has that name
 */
export async function setController(
  { db, clock }: Deps,
  command: By & { deviceId: string; controllerId: string; reach: Reach },
): Promise<void> {
  const { deviceId, controllerId, reach, actor, requestId } = command
  const now = clock.now()
  await inTransaction(db, async (tx) => {
    const before = await getPoller({ db: tx }, deviceId)
    if (before.controller_id === controllerId) return
    // It would be in the way when that device comes for the first time. Who is limited to groups does not learn whether there is one.
    const isTaken =
      reach === 'fleet'
        ? await isDeviceId(tx, controllerId)
        : uuidPattern.test(controllerId.toLowerCase())
    if (controllerId !== deviceId && isTaken) {
      throw new DomainError('conflict', 'That is the id of another device', { controllerId })
    }
    const row = { device_id: deviceId, controller_id: controllerId, created_at: now }
    if (!(await savePoller(tx, row))) {
      throw new DomainError('conflict', 'Another device has this name', { controllerId })
    }
    const facts = { from: before.controller_id, to: controllerId }
    const what = { action: 'ddi.controller', subject: deviceId, facts }
    await recordAudit(tx, { at: now, actor, requestId, ...what })
  })
}

/** What the device would be shown now, and why. Changes nothing. */
export async function lookAtPoller(
  { db, clock }: Deps,
  deviceId: string,
): Promise<{ poller: Poller; shown: Shown; token: Token | undefined }> {
  const poller = await getPoller({ db }, deviceId)
  const token = await findToken(db, deviceId)
  return { poller, shown: whatIsShown(poller, clock.now()), token }
}
