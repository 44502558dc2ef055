import { z } from 'zod'

const name = z.string().trim().min(1).max(100)
const description = z.string().max(1_000)

export const GroupParams = z.object({ groupId: z.uuid().lowercase() })
export const MemberParams = z.object({
  groupId: z.uuid().lowercase(),
  deviceId: z.uuid().lowercase(),
})

/** A question about devices, like `model = "cam-2" and attributes.region = "eu"` (docs/device-queries.md). */
const query = z.string().trim().min(1).max(2_000)

export const NewGroupBody = z.strictObject({
  name,
  description: description.default(''),
  /** Makes the group dynamic: its members are the devices that this finds, now and later. */
  query: query.optional(),
  /** Group policies are refused by the service, by name, until they exist. */
  policy: z.unknown().optional(),
})

export const ChangeGroupBody = z.strictObject({
  name: name.optional(),
  description: description.optional(),
  query: query.optional(),
  policy: z.unknown().optional(),
})

/** Filter of `GET /groups`: the exact name. */
export const groupFilter = { name: z.string().min(1).max(100).optional() }

export const GroupView = z.object({
  id: z.uuid(),
  name: z.string(),
  description: z.string(),
  deviceCount: z.int(),
  /** Of a dynamic group; null when people choose the members. */
  query: z.string().nullable(),
  /** Of a dynamic group: when all devices were last looked at. A device is also looked at whenever it says something new. */
  evaluatedAt: z.iso.datetime().nullable(),
  /** An open incident: every device of the group is cut off. */
  incident: z.object({ id: z.uuid(), reason: z.string(), openedAt: z.iso.datetime() }).nullable(),
  /** For `If-Match`: another one after each change of its name, description or query. */
  version: z.int(),
  createdAt: z.iso.datetime(),
})
export type GroupView = z.infer<typeof GroupView>

export const GroupActionBody = z.strictObject({
  action: z.enum(['disable', 'enable']),
  reason: z.string().trim().min(1).max(500),
})
