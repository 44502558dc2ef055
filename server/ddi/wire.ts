import { z } from 'zod'

import { ddiProfiles } from '../protocol/ddi.ts'

const name = z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/)
const hardwareId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/)

export const ModelParams = z.object({ model: name })
export const LineParams = z.object({ profileId: z.uuid().lowercase() })
export const ControllerParams = z.object({ deviceId: z.uuid().lowercase() })

/** How devices of a model poll, and what proves that they run an update. */
export const ProductBody = z
  .strictObject({
    /** The client that they run: what it does with an offer differs (docs/devices/). */
    profile: z.enum(ddiProfiles),
    /** The component that their releases are for. */
    component: name,
    /** The type of the one part of an update; Zephyr's client takes `bApp` only. */
    part: z
      .string()
      .regex(/^[A-Za-z0-9._-]{1,64}$/)
      .optional(),
    /**
     * The attribute (`configData`) in which the booted image says its version. Null: what SWUpdate and Zephyr say after the boot has to
     * do, and is shown as not verified.
     */
    versionAttribute: z
      .string()
      .regex(/^[A-Za-z0-9._:-]{1,128}$/)
      .nullable(),
    /** Between two polls with nothing to do. */
    pollSeconds: z.int().min(30).max(86_399).default(300),
  })
  .refine(({ profile, part }) => profile !== 'zephyr' || part === undefined || part === 'bApp', {
    path: ['part'],
    message: "Zephyr's client takes bApp only",
  })
  .refine(
    ({ profile, versionAttribute }) =>
      versionAttribute !== null || profile === 'swupdate' || profile === 'zephyr',
    {
      path: ['versionAttribute'],
      message:
        'only SWUpdate and Zephyr claim success after the boot: the others need an attribute',
    },
  )
export type ProductBody = z.infer<typeof ProductBody>

export const ProductView = z.object({
  model: z.string(),
  profile: z.enum(ddiProfiles),
  component: z.string(),
  part: z.string(),
  versionAttribute: z.string().nullable(),
  pollSeconds: z.int(),
  changedAt: z.iso.datetime(),
})
export type ProductView = z.infer<typeof ProductView>

/** What the devices of an enrollment profile are, since they say no `hello`. */
export const LineBody = z.strictObject({
  model: name,
  hardwareIds: z
    .array(hardwareId)
    .min(1)
    .max(16)
    .refine((ids) => new Set(ids).size === ids.length, 'each hardware id once'),
})
export type LineBody = z.infer<typeof LineBody>

export const LineView = z.object({
  profileId: z.uuid(),
  model: z.string(),
  hardwareIds: z.array(z.string()),
  changedAt: z.iso.datetime(),
})
export type LineView = z.infer<typeof LineView>

/** What a device calls itself in the path of its requests, where that is not its id. */
export const ControllerBody = z.strictObject({
  controllerId: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:@-]{0,255}$/),
})

/** A token for a device that cannot show a certificate yet. What it is has to be said where nothing else says it. */
export const TokenBody = z.strictObject({
  reason: z.string().trim().min(1).max(500),
  /** Also for a device that has had a certificate. */
  despiteCertificate: z.boolean().default(false),
  model: name.optional(),
  hardwareIds: z.array(hardwareId).min(1).max(16).optional(),
})
export type TokenBody = z.infer<typeof TokenBody>

/** Shown this once. */
export const TokenView = z.object({ deviceId: z.uuid(), token: z.string() })
export type TokenView = z.infer<typeof TokenView>

/** What a device is shown at its next poll, and why. */
export const DdiDeviceView = z.object({
  deviceId: z.uuid(),
  controllerId: z.string(),
  profile: z.enum(ddiProfiles),
  link: z.enum(['none', 'deploymentBase', 'confirmationBase', 'cancelAction']),
  reason: z.string().nullable(),
  /** Since when the owner has agreed beforehand to every update that would ask. */
  autoConfirmAt: z.iso.datetime().nullable(),
  /** It may show a token instead of a certificate: a weakness. `lastUsedAt` is to the hour. */
  targetToken: z
    .object({
      createdAt: z.iso.datetime(),
      createdBy: z.string(),
      lastUsedAt: z.iso.datetime().nullable(),
      despiteCertificate: z.boolean(),
    })
    .nullable(),
  action: z
    .object({
      id: z.int(),
      deploymentId: z.uuid(),
      startedAt: z.iso.datetime().nullable(),
      claimedAt: z.iso.datetime().nullable(),
      messages: z.array(z.string()),
    })
    .nullable(),
})
export type DdiDeviceView = z.infer<typeof DdiDeviceView>
