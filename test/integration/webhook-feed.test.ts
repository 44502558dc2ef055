import { afterAll, beforeAll, expect, test } from 'vitest'

import { type Intent, withConsent } from '../../server/approvals/consent.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { recordEvents } from '../../server/events/record.ts'
import { actOnDevice } from '../../server/incidents/service.ts'
import { createEndpoint } from '../../server/webhooks/service.ts'
import { createTestDatabase } from '../support/database.ts'
import { by, createIdentityWorld, type IdentityWorld } from '../support/identity-world.ts'

let handle: DatabaseHandle
let world: IdentityWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  const endpoint = { id: crypto.randomUUID(), url: 'https://example.com/', description: '' }
  const types = [
    'device.enrolled',
    'device.state-changed',
    'certificate.issued',
    'security-event.raised',
    'approval.needed',
  ] as const
  await createEndpoint(world.ctx, { ...endpoint, types: [...types], groupIds: [] }, by)
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const stored = async (deviceId: string) =>
  await handle.db
    .selectFrom('outbox_event')
    .select(['type', 'subject', 'ordered_by', 'data'])
    .where('device_id', '=', deviceId)
    .orderBy('seq')
    .execute()

test('what happens to a device is told in the order in which it happens', async () => {
  const { deviceId, certificateId, fingerprint } = await world.givenDevice()
  await actOnDevice(world.ctx, {
    deviceId,
    action: 'disable',
    reason: 'lost',
    by: { id: by.actor },
  })
  expect(await stored(deviceId)).toMatchObject([
    { type: 'device.enrolled', subject: deviceId, ordered_by: deviceId, data: { certificateId } },
    { type: 'certificate.issued', subject: certificateId, data: { fingerprint, kind: 'enroll' } },
    { type: 'device.state-changed', data: { from: 'active', to: 'disabled', reason: 'lost' } },
    { type: 'security-event.raised', data: { kind: 'device-disabled', severity: 'warning' } },
  ])
})

test('what is rolled back is not told', async () => {
  const deviceId = crypto.randomUUID()
  const facts = { source: 'server', severity: 'info', deviceId, facts: {} } as const
  await inTransaction(handle.db, async (tx) => {
    await recordEvents(tx, world.ctx.clock.now(), [{ ...facts, kind: 'false-success' }])
    throw new Error('no')
  }).catch(() => {})
  expect(await stored(deviceId)).toEqual([])
})

test('that somebody else has to agree is told once for a wish', async () => {
  const { ctx } = world
  const changed = { changed_by: by.actor, changed_at: ctx.clock.now() }
  const policy = { kind: 'group-disable', needed: 1, expires_hours: 2, ...changed } as const
  await handle.db.insertInto('approval_policy').values(policy).execute()
  const subject = crypto.randomUUID()
  const actor = { id: by.actor, voice: by.actor, name: 'Ada', grants: [], requestId: 'test' }
  const intent: Intent = { kind: 'group-disable', subject, asked: {}, by: actor }
  const wish = async () =>
    await withConsent(
      ctx,
      intent,
      async (consent) => await inTransaction(handle.db, (tx) => consent(tx, {})),
    )
  const refusal: unknown = await wish().catch((error: unknown) => error)
  expect(refusal).toMatchObject({
    code: 'approval-needed',
    facts: { approvalId: expect.any(String) },
  })
  await wish().catch(() => {})
  const { approvalId } = (refusal as { facts: Record<string, string> }).facts
  const told = await handle.db
    .selectFrom('outbox_event')
    .select(['subject', 'data'])
    .where('type', '=', 'approval.needed')
    .execute()
  const expiresAt = new Date(ctx.clock.now().getTime() + 2 * 3_600_000).toISOString()
  expect(told).toEqual([
    { subject: approvalId, data: { approvalId, action: 'group-disable', expiresAt } },
  ])
})
