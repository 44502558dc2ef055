import { z } from 'zod'

export const ExportQuery = z.strictObject({
  /** Begin behind this place in the chain; absent: with the first row that is kept. */
  after: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional(),
})

export const AuditKeyView = z.object({
  id: z.uuid(),
  /** `NAME+ID+BASE64`, as verifiers take it (`fleetseal audit verify --key`). */
  key: z.string(),
  /** By the key before it, a signed note; null for the first one. */
  endorsement: z.string().nullable(),
  createdAt: z.iso.datetime(),
  retiredAt: z.iso.datetime().nullable(),
})
export type AuditKeyView = z.infer<typeof AuditKeyView>

export const CheckpointView = z.object({
  /** The last row that it covers. */
  chainNo: z.int(),
  hash: z.string(),
  at: z.iso.datetime(),
  keyId: z.uuid(),
  /** What was signed, with the signature: keep it somewhere else. */
  note: z.string(),
})
export type CheckpointView = z.infer<typeof CheckpointView>

export const HoldBody = z.strictObject({
  held: z.boolean(),
  reason: z.string().trim().min(1).max(500),
})

export const HoldView = z.object({
  held: z.boolean(),
  reason: z.string(),
  actor: z.string(),
  at: z.iso.datetime(),
})
export type HoldView = z.infer<typeof HoldView>

export const AuditStatusView = z.object({
  /** The first place that is kept; higher than 1 once old rows were dropped. */
  begins: z.int(),
  head: z.object({ chainNo: z.int(), hash: z.string() }).nullable(),
  unsealed: z.int(),
  checkpoint: CheckpointView.nullable(),
  hold: HoldView.nullable(),
  /** Rows are kept for so many days; null: for ever. */
  keptDays: z.int().nullable(),
  /** Whether the server's role in the database can do no more than add to the log. */
  rightsSeparated: z.boolean(),
  /** What it can do beyond that. */
  excessiveRights: z.array(z.string()),
})
export type AuditStatusView = z.infer<typeof AuditStatusView>

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
  /** Begin after this place in the chain, whose stored hash is then taken as it is; absent: with the first row that is kept. */
  after: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional(),
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
  /** The last place among those walked that a checkpoint was signed for; 0: none was. */
  coveredTo: z.int(),
  firstBreak: z
    .object({
      chainNo: z.int(),
      seq: z.int().nullable(),
      /**
       * `forked`: the rows are not those that a checkpoint was signed for. `cut-off`: rows are gone that one was signed for.
       */
      reason: z.enum([
        'missing',
        'wrong-previous',
        'changed',
        'forked',
        'wrong-signature',
        'cut-off',
      ]),
    })
    .nullable(),
})
export type VerifyView = z.infer<typeof VerifyView>
