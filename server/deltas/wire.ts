import { z } from 'zod'

import { formMethods, formReasons, formStates } from './state.ts'

export const ReleaseDeliveryParams = z.object({ releaseId: z.uuid().lowercase() })

/** A shorter way to a release's image: what it starts from, and how long it is. */
export const DeliveryFormView = z.object({
  method: z.enum(formMethods),
  /** SHA-256 of the image that must be installed; null for zstd. */
  base: z.string().nullable(),
  state: z.enum(formStates),
  /** Why there is none. */
  reason: z.enum(formReasons).nullable(),
  /** SHA-256 and bytes of what is sent. */
  sha256: z.string().nullable(),
  length: z.number().nullable(),
  /** Bytes of each block of a delta. */
  blockBytes: z.number().nullable(),
  /** Milliseconds of CPU that it took to make it. */
  cpuMs: z.number().nullable(),
  changedAt: z.iso.datetime(),
})
export type DeliveryFormView = z.infer<typeof DeliveryFormView>
