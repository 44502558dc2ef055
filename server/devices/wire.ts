import { z } from 'zod'

import { PenaltyView } from '../rollouts/penalty-wire.ts'
import { deviceStates, operatorActions } from './state.ts'

export const DeviceParams = z.object({ deviceId: z.uuid().lowercase() })

/**
 * Filters of `GET /devices`. `query` is a question like `model = "cam-2" and lastSeen > 7d` (docs/device-queries.md); without any
 * comparison in it, it is a piece of the name or serial number, upper and lower case alike.
 */
export const deviceFilter = {
  query: z.string().trim().min(1).max(2_000).optional(),
  groupId: z.uuid().lowercase().optional(),
  state: z.enum(deviceStates).optional(),
  connected: z.enum(['true', 'false']).optional(),
}

export const NewDeviceBody = z.strictObject({
  /** Printable ASCII without spaces; it becomes `serialNumber` of the certificate's subject. */
  serialNumber: z
    .string()
    .regex(/^[\x21-\x7e]{1,64}$/, 'must be 1 to 64 printable ASCII characters without spaces'),
  name: z.string().trim().min(1).max(200).optional(),
  groupId: z.uuid().lowercase().optional(),
})

export const DeviceActionBody = z.strictObject({
  action: z.enum(operatorActions),
  reason: z.string().trim().min(1).max(500),
})

export const DeviceView = z.object({
  id: z.uuid(),
  name: z.string(),
  serialNumber: z.string(),
  model: z.string().nullable(),
  hardwareIds: z.array(z.string()),
  state: z.enum(deviceStates),
  connected: z.boolean(),
  lastSeenAt: z.iso.datetime().nullable(),
  agent: z.string().nullable(),
  attributes: z.record(z.string(), z.unknown()),
  installed: z.array(z.record(z.string(), z.unknown())),
  /** The owner opted out of updates. */
  updateOptOut: z.boolean(),
  /** `off`: the owner switched it off; what the device says happened to it is not stored (docs/owners-choice.md). */
  monitoring: z.enum(['on', 'off']),
  /** Its owner agreed at enrollment that two operators may decide over them (updates.md 7.2): profile and device both say so. */
  managed: z.boolean(),
  /** The newest update or bundle that it refused, with the attack code; only when one device is asked for. */
  lastRefusal: z
    .object({
      code: z.string().nullable(),
      detail: z.string().nullable(),
      deploymentId: z.string().nullable(),
      at: z.iso.datetime(),
    })
    .nullish(),
  /** What keeps new offers from it; only when one device is asked for. */
  penalty: PenaltyView.nullish(),
  /** The newest certificate that was issued to it. */
  certificate: z
    .object({
      id: z.uuid(),
      state: z.string(),
      serial: z.string(),
      fingerprint: z.string(),
      notBefore: z.iso.datetime(),
      notAfter: z.iso.datetime(),
    })
    .nullable(),
  /** It may poll with a token instead of a certificate: a weakness (docs/devices/). */
  targetToken: z.boolean(),
  groupIds: z.array(z.uuid()),
  createdAt: z.iso.datetime(),
  changedAt: z.iso.datetime(),
})
export type DeviceView = z.infer<typeof DeviceView>
