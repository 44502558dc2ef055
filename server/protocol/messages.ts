import { z } from 'zod'

import { deploymentStates } from './deployment.ts'
import { maxProofLength } from './report-proof.ts'

/** What travels over MQTT (interfaces.md, updates.md §2.5, §2.6 and §7). Every string and list has a limit. */

const name = z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/)
const counter = z.int().min(0)
const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const nonce = z.string().regex(/^[0-9a-f]{32}$/)
const instant = z.iso.datetime().max(40)
const id = z.uuid().lowercase()

export const Installed = z.strictObject({
  component: name,
  version: z.string().min(1).max(64),
  build: counter,
  svn: counter,
  sha256,
})
export type Installed = z.infer<typeof Installed>

/** Versions of the metadata files a device holds; absent means it holds none. */
export const Have = z.strictObject({
  director: z
    .record(z.string().max(80), counter)
    .refine((have) => Object.keys(have).length <= 40)
    .optional(),
  image: z
    .record(z.string().max(80), counter)
    .refine((have) => Object.keys(have).length <= 40)
    .optional(),
  /** The transparency log as far as the device has seen it; absent when it does not look at it. */
  log: z
    .strictObject({
      /** Leaves of the newest head it accepted; 0 before the first. */
      size: counter,
      /** Leaf hashes of the files it holds that were proven to it. */
      proven: z.array(sha256).max(40),
    })
    .optional(),
})
export type Have = z.infer<typeof Have>

const Attributes = z
  .record(z.string().min(1).max(64), z.union([z.string().max(256), z.number(), z.boolean()]))
  .refine((attributes) => Object.keys(attributes).length <= 64, 'at most 64 attributes')

export const Hello = z.strictObject({
  agent: z.string().min(1).max(100),
  model: name,
  hardwareIds: z.array(z.string().min(1).max(64)).min(1).max(16),
  installed: z.array(Installed).max(16),
  attributes: Attributes.default({}),
  /** 16 fresh random bytes in hex; the answer carries them back under the director's timestamp key. */
  nonce,
  have: Have.default({}),
  /** The owner's standing choice as the device holds it: it survives the server (updates.md §7.2). */
  optOut: z.boolean().default(false),
  /** False: the owner switched logging and monitoring off, and no event of the device is stored. Absent: it does not say. */
  monitoring: z.boolean().optional(),
  /** The owner agreed at enrollment that an operator may override what they choose (updates.md §7.2). */
  managed: z.boolean().optional(),
  /** Of the last boot, so that the server can tell a new boot from an old one. */
  bootId: z.string().min(1).max(64).optional(),
})
export type Hello = z.infer<typeof Hello>

export const Report = z.strictObject({
  deploymentId: id,
  state: z.enum(deploymentStates),
  progress: z.int().min(0).max(100).optional(),
  /** An attack code of updates.md §4 or a short reason, when the state is a refusal or a failure. */
  code: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,31}$/)
    .optional(),
  detail: z.string().max(500).optional(),
  /** With `testing` and `succeeded`: what runs now, and the server's commit nonce. */
  sha256: sha256.optional(),
  commitNonce: nonce.optional(),
  /** Compact JWS of `ProofClaims` by the device's key, with what ends a deployment (updates.md section 4, step 13). */
  proof: z
    .string()
    .max(maxProofLength)
    .regex(/^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/)
    .optional(),
  at: instant,
})
export type Report = z.infer<typeof Report>

/** About updates; those of `monitoringChoices` are about what else the device tells, and name no deployment. */
export const updateChoices = ['accept', 'postpone', 'optOut', 'optIn'] as const
export const monitoringChoices = ['monitorOff', 'monitorOn'] as const
export const choices = [...updateChoices, ...monitoringChoices] as const

export const Choice = z.strictObject({
  deploymentId: id.optional(),
  choice: z.enum(choices),
  until: instant.optional(),
  /** Of the text that the owner was shown: `x-policy.notice.sha256`. */
  textSha256: sha256.optional(),
  /** By the device's trusted time. */
  at: instant.optional(),
})
export type Choice = z.infer<typeof Choice>
export type UpdateChoice = Choice & { choice: (typeof updateChoices)[number] }

export const DeviceEvent = z.strictObject({
  kind: z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/),
  severity: z.enum(['info', 'warning', 'critical']).default('info'),
  detail: z.string().max(1000).optional(),
  at: instant,
})
export type DeviceEvent = z.infer<typeof DeviceEvent>

/** What came of a command. `command` is its word, also one that the device does not know. */
export const CommandResult = z.strictObject({
  command: z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/),
  result: z.enum(['done', 'failed', 'refused']),
  code: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,31}$/)
    .optional(),
  detail: z.string().max(1000).optional(),
  at: instant,
})
export type CommandResult = z.infer<typeof CommandResult>

/** Server → device, one message: exact texts of the files the device lacks (updates.md §2.6). */
export const BundleMessage = z.strictObject({
  director: z.record(z.string().max(80), z.string().max(65_536)),
  image: z.record(z.string().max(80), z.string().max(65_536)),
  /** Why the signed head of the transparency log holds these files (`LogProofs`). */
  log: z
    .strictObject({
      included: z.record(sha256, z.strictObject({ no: counter, path: z.array(sha256).max(64) })),
      consistent: z.record(z.string().regex(/^\d{1,16}$/), z.array(sha256).max(64)),
    })
    .optional(),
})
export type BundleMessage = z.infer<typeof BundleMessage>

/**
 * Server → device, not signed and trusted for nothing but a reason to look: `refresh` asks for a new `hello`;
 * `commit` answers a `testing` report with the nonce that the device must bring back to be counted as succeeded; `renew` says
 * when a certificate (SHA-256 of it) should be renewed, which may be in the past.
 */
export const Command = z.discriminatedUnion('command', [
  z.strictObject({ command: z.literal('refresh') }),
  z.strictObject({ command: z.literal('commit'), deploymentId: id, commitNonce: nonce }),
  z.strictObject({ command: z.literal('renew'), certificate: sha256, at: instant }),
])
export type Command = z.infer<typeof Command>
