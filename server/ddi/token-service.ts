import { createHash, randomBytes } from 'node:crypto'

import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { announceIdentityChange, recordIdentityChanges } from '../devices/identity-change.ts'
import { type LockedDevice, lockDevice, moveDevice } from '../devices/lifecycle.ts'
import { describePolled } from '../devices/polled-description.ts'
import { DomainError } from '../errors.ts'
import { findPoller, savePoller } from './device-store.ts'
import { unknownHardware } from './product-store.ts'
import { getProduct } from './service.ts'
import { deleteToken, findToken, hasCertificate, saveToken } from './token-store.ts'
import type { TokenBody } from './wire.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'config' | 'bus' | 'identities'>

interface By {
  deviceId: string
  actor: string
  requestId: string
}

const prefix = 'fst_'

/** SHA-256 of what a device shows; undefined for what is no token of ours. */
export function hashOfToken(text: string): Buffer | undefined {
  return /^fst_[A-Za-z0-9_-]{43}$/.test(text)
    ? createHash('sha256').update(text).digest()
    : undefined
}

/**
 * Lets a device poll with a token instead of a certificate, which it shows in every request and whoever reads it can be the device. A device
 * that never enrolled becomes active by it. The token before counts no more.
 *
 * @returns the token, which is shown this once
 * @throws DomainError `not-ready` where tokens are switched off, or what the device is is not known; `not-allowed` for a device that has a
 *   certificate, unless the caller insists; `illegal-transition` for one that is cut off; `not-found`
 */
export async function createToken(
  ctx: Deps,
  { deviceId, body, actor, requestId }: By & { body: TokenBody },
): Promise<string> {
  if (!ctx.config.targetTokens) {
    throw new DomainError(
      'not-ready',
      'Target tokens are off: set FLEETSEAL_TARGET_TOKENS=allow on the server, and enroll the device for a certificate as soon as it can',
    )
  }
  const now = ctx.clock.now()
  const token = `${prefix}${randomBytes(32).toString('base64url')}`
  const hash = hashOfToken(token)
  if (!hash) throw new Error('A new token is no token')
  await inTransaction(ctx.db, async (tx) => {
    const device = await lockDevice(tx, { id: deviceId })
    if (!device) throw new DomainError('not-found', 'No such device', { deviceId })
    const { despiteCertificate: despite_certificate, reason } = body
    if (!despite_certificate && (await hasCertificate(tx, deviceId))) {
      throw new DomainError(
        'not-allowed',
        'This device has shown that it can have a certificate: a token would take that back. Insist with despiteCertificate if it must be',
      )
    }
    await makeActive(tx, device, now)
    await describe(tx, deviceId, body, now)
    const row = {
      device_id: deviceId,
      hash,
      despite_certificate,
      created_by: actor,
      created_at: now,
    }
    await saveToken(tx, row)
    await recordIdentityChanges(tx, { deviceIds: [deviceId], now })
    const facts = { reason, despiteCertificate: despite_certificate, weakness: 'no certificate' }
    const what = { action: 'ddi.token', subject: deviceId, facts }
    await recordAudit(tx, { at: now, actor, requestId, ...what })
  })
  await announceIdentityChange(ctx, [deviceId])
  return token
}

async function makeActive(
  tx: Parameters<typeof moveDevice>[0],
  device: LockedDevice,
  now: Date,
): Promise<void> {
  if (device.state === 'active') return
  await moveDevice(tx, device, 'enroll', now)
}

/** No hello and perhaps no enrollment profile says what it is. */
async function describe(
  tx: Parameters<typeof moveDevice>[0],
  deviceId: string,
  { model, hardwareIds = [] }: TokenBody,
  now: Date,
): Promise<void> {
  if (model !== undefined) {
    await getProduct({ db: tx }, model)
    const unknown = await unknownHardware(tx, model, hardwareIds)
    if (hardwareIds.length === 0 || unknown.length > 0) {
      const message = `hardware ids of the model are needed${unknown.length > 0 ? `, and it has no ${unknown.join(', ')}` : ''}`
      throw new DomainError('invalid-request', `Of ${model}: ${message}`, {
        issues: [{ at: 'hardwareIds', message }],
      })
    }
    await savePoller(tx, { device_id: deviceId, controller_id: deviceId, created_at: now })
    await describePolled(tx, { deviceId, model, hardwareIds }, now)
  }
  if (await findPoller(tx, deviceId)) return
  throw new DomainError(
    'not-ready',
    'Nothing says what this device is: name its model and hardware ids',
    { deviceId },
  )
}

/** Ends a token and whatever is being downloaded with it. Ending none changes and records nothing. */
export async function removeToken(
  ctx: Pick<Deps, 'db' | 'clock' | 'bus' | 'identities'>,
  { deviceId, actor, requestId }: By,
): Promise<void> {
  const at = ctx.clock.now()
  await inTransaction(ctx.db, async (tx) => {
    if (!(await deleteToken(tx, deviceId))) return
    await recordIdentityChanges(tx, { deviceIds: [deviceId], now: at })
    const what = { action: 'ddi.token-remove', subject: deviceId, facts: {} }
    await recordAudit(tx, { at, actor, requestId, ...what })
  })
  await announceIdentityChange(ctx, [deviceId])
}

/** Such a device has no certificate to show, and is enrolled all the same. */
export async function hasTargetToken(db: Db, deviceId: string): Promise<boolean> {
  return (await findToken(db, deviceId)) !== undefined
}
