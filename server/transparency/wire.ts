import { z } from 'zod'

const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const size = z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER)

export const LogHeadView = z.object({
  /** Number of leaves. */
  size: z.int(),
  /** Lower hex. */
  root: sha256,
})
export type LogHeadView = z.infer<typeof LogHeadView>

export const LogEntryView = z.object({
  no: z.int(),
  /** Canonical JSON; the leaf is its RFC 6962 leaf hash. */
  data: z.string(),
  leaf: sha256,
  at: z.iso.datetime(),
})
export type LogEntryView = z.infer<typeof LogEntryView>

export const ConsistencyQuery = z.strictObject({ from: size })

export const ConsistencyView = z.object({
  from: LogHeadView,
  to: LogHeadView,
  /** RFC 6962 section 2.1.2, lower hex. */
  proof: z.array(sha256),
})
export type ConsistencyView = z.infer<typeof ConsistencyView>

export const InclusionParams = z.object({ leaf: sha256 })

export const InclusionView = z.object({
  head: LogHeadView,
  no: z.int(),
  /** RFC 6962 section 2.1.1, lower hex. */
  proof: z.array(sha256),
})
export type InclusionView = z.infer<typeof InclusionView>
