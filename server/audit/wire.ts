import { z } from 'zod'

const text = z.string().min(1).max(200)

/** Filters of `GET /audit`: exact, all that are given must hold. */
export const auditFilter = {
  subject: text.optional(),
  actor: text.optional(),
  action: text.optional(),
}

export const OriginView = z.object({
  address: z.string().optional(),
  /** What was shown: `api-key`, `session`, `workload-token`, `device-certificate`, … */
  credential: z.string().optional(),
  userAgent: z.string().optional(),
})

export const AuditView = z.object({
  /** In order of writing; the place in the chain is `chainNo`. */
  seq: z.int(),
  at: z.iso.datetime(),
  actor: z.string(),
  action: z.string(),
  subject: z.string(),
  facts: z.record(z.string(), z.unknown()),
  requestId: z.string().nullable(),
  /** Where it came from; null for what the server did by itself, and for rows from before origins were recorded. */
  origin: OriginView.nullable(),
  chainNo: z.int().nullable(),
  hash: z.string().nullable(),
})
export type AuditView = z.infer<typeof AuditView>

export const VerifyQuery = z.strictObject({
  /** Begin after this place in the chain; its stored hash is then taken as it is. */
  after: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0),
  /** How many rows to walk in this call. */
  limit: z.coerce.number().int().min(1).max(100_000).default(20_000),
})

export const VerifyView = z.object({
  /** No break was found in what was walked. */
  ok: z.boolean(),
  /** How many rows this call walked. */
  walked: z.int(),
  /** The last place that held, and its hash: keep both somewhere else, a shortened chain shows against them. */
  verifiedTo: z.int(),
  head: z.string(),
  /** There are sealed rows after `verifiedTo`: call again with `after`. */
  more: z.boolean(),
  /** Rows that are not sealed yet. */
  unsealed: z.int(),
  firstBreak: z
    .object({
      chainNo: z.int(),
      seq: z.int().nullable(),
      reason: z.enum(['missing', 'wrong-previous', 'changed']),
    })
    .nullable(),
})
export type VerifyView = z.infer<typeof VerifyView>
