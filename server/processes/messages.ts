import { z } from 'zod'

/** What the parent says to a broker process over their channel. */
export const ToBroker = z.discriminatedUnion('type', [
  z.object({ type: z.literal('stop') }),
  z.object({ type: z.literal('metrics'), id: z.int() }),
])
export type ToBroker = z.infer<typeof ToBroker>

const port = z.int().min(1).max(65_535)

/** What a broker process says to its parent. */
export const FromBroker = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ready'), mqtt: port, device: port }),
  /** Something an operator can mend; it ends after it. */
  z.object({ type: z.literal('failed'), problem: z.string().max(10_000) }),
  z.object({ type: z.literal('metrics'), id: z.int(), metrics: z.array(z.looseObject({})) }),
])
export type FromBroker = z.infer<typeof FromBroker>

/** The argument that tells a broker process that it has a parent. */
export const supervisedArgument = '--supervised'
