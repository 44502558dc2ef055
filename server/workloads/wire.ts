import { z } from 'zod'

import { RoleName, ScopeGroups } from '../access/wire.ts'

export const WorkloadParams = z.object({ workloadId: z.uuid().lowercase() })

/** Printable ASCII: what issuers put into subjects and audiences. */
const word = z.string().regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without blanks')

export const NewWorkloadBody = z.strictObject({
  name: z.string().trim().min(1).max(100),
  /** `iss` of the tokens, and where the issuer describes itself: https, or http on this machine. */
  issuer: z.url().max(500),
  /** `aud` of the tokens: best the address of this server. */
  audience: word.max(255),
  /** `sub` of the tokens. `*` stands for anything but a colon, and a pattern is not all stars. */
  subject: word.max(255),
  /** Other claims, each of which has to be just so. */
  claims: z
    .record(z.string().regex(/^[A-Za-z0-9_./:-]{1,100}$/), z.string().max(500))
    .refine((claims) => Object.keys(claims).length <= 20, 'at most 20 claims')
    .default({}),
  role: RoleName,
  groupIds: ScopeGroups.default([]),
})

export const WorkloadView = z.object({
  id: z.uuid(),
  /** Of audit rows and grants: `workload:ID`. */
  principal: z.string(),
  name: z.string(),
  issuer: z.string(),
  audience: z.string(),
  subject: z.string(),
  claims: z.record(z.string(), z.string()),
  grants: z.array(z.object({ role: z.string(), groupIds: z.array(z.uuid()) })),
  createdBy: z.string(),
  createdAt: z.iso.datetime(),
  lastUsedAt: z.iso.datetime().nullable(),
  removedAt: z.iso.datetime().nullable(),
})
export type WorkloadView = z.infer<typeof WorkloadView>
