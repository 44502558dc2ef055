import { z } from 'zod'

/** How many people have to approve it, beside who made it and who edited it last. */
export const Approvals = z.int().min(0).max(10).nullish()

/** When it starts by itself, once it is approved; within a year. */
export const StartAt = z.iso.datetime({ offset: true }).nullish()

/** SHA-256 of a definition in lowercase hex. */
export const DefinitionHash = z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 lowercase hex digits')

export const ApprovalView = z.object({
  by: z.string(),
  at: z.iso.datetime(),
  reason: z.string().nullable(),
})

export const ApprovalsView = z.object({
  needed: z.number(),
  missing: z.number(),
  /** Of the present definition; an edit voids all of them. */
  given: z.array(ApprovalView),
})

export const DefinitionView = z.object({
  definitionHash: DefinitionHash,
  /** The hash is SHA-256 of its canonical form (RFC 8785). */
  definition: z.record(z.string(), z.unknown()),
})
