import { z } from 'zod'

const name = z.string().trim().min(1).max(100)
const description = z.string().max(1_000)

export const GroupParams = z.object({ groupId: z.uuid().lowercase() })
export const MemberParams = z.object({
  groupId: z.uuid().lowercase(),
  deviceId: z.uuid().lowercase(),
})

export const NewGroupBody = z.strictObject({
  name,
  description: description.default(''),
  /** Dynamic groups and group policies are refused by the service, by name, until they exist. */
  query: z.unknown().optional(),
  policy: z.unknown().optional(),
})

export const ChangeGroupBody = z.strictObject({
  name: name.optional(),
  description: description.optional(),
  query: z.unknown().optional(),
  policy: z.unknown().optional(),
})

/** Filter of `GET /groups`: the exact name. */
export const groupFilter = { name: z.string().min(1).max(100).optional() }

export const GroupView = z.object({
  id: z.uuid(),
  name: z.string(),
  description: z.string(),
  deviceCount: z.int(),
  /** An open incident: every device of the group is cut off. */
  incident: z.object({ id: z.uuid(), reason: z.string(), openedAt: z.iso.datetime() }).nullable(),
  createdAt: z.iso.datetime(),
})
export type GroupView = z.infer<typeof GroupView>

export const GroupActionBody = z.strictObject({
  action: z.enum(['disable', 'enable']),
  reason: z.string().trim().min(1).max(500),
})
