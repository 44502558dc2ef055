import { z } from 'zod'

import { releaseActions, releaseStates } from './state.ts'

const name = z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/)
const counter = z.int().min(0)
const id = z.uuid().lowercase()
/** What enters signed metadata: printable ASCII without quote and backslash (updates.md 2.1). */
const plain = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .regex(/^[ !#-[\]-~]*$/, 'printable ASCII without " and \\')
/** Text for people, kept beside the metadata: line breaks and tabs are the only control characters. */
const prose = (max: number) =>
  z
    .string()
    .max(max)
    .regex(/^(?:[\n\r\t]|[^\p{Cc}\p{Cs}])*$/u, 'no control characters')

export const Advisory = z.strictObject({
  id: plain(64),
  severity: z.enum(['low', 'medium', 'high', 'critical']),
  /** Where the owner can read more; a path is one on this server. */
  url: plain(256),
  /** In words that an owner understands: what could happen, and what the update does. Devices show its beginning. */
  text: prose(10_000).optional(),
  /** What the owner is to do, beside installing it. */
  action: prose(500).optional(),
  /** Known to be exploited: shorter postponement, louder notice (updates.md 7.2). */
  exploited: z.boolean().default(false),
})
export type Advisory = z.infer<typeof Advisory>

/** Why a release brings more than fixes (CRA annex I, part II, 2). */
export const MixedReason = z.strictObject({
  kind: z.enum(['not_technically_feasible', 'fix_is_functional_change']),
  text: z.string().trim().min(10).max(2_000),
})
export type MixedReason = z.infer<typeof MixedReason>

export const Requires = z
  .record(name, counter)
  .refine((requires) => Object.keys(requires).length <= 16, 'at most 16 components')

export const ReleaseParams = z.object({ releaseId: id })

export const NewReleaseBody = z.strictObject({
  model: name,
  component: name,
  /** Text for people, and a folder in the target's path. */
  version: z
    .string()
    .max(64)
    .regex(/^[0-9A-Za-z][0-9A-Za-z.+_-]*$/),
  /** The order of releases: unique and rising for model and component. */
  build: counter,
  /** Absent: the highest that was published. */
  svn: counter.optional(),
  class: z.enum(['security', 'feature', 'config']),
  artifactId: id,
  hardwareIds: z
    .array(z.string().min(1).max(64))
    .min(1)
    .max(64)
    .refine((ids) => new Set(ids).size === ids.length, 'each hardware id once'),
  minPrevious: counter.optional(),
  requires: Requires.default({}),
  fixes: z
    .array(plain(64))
    .max(256)
    .refine((fixes) => new Set(fixes).size === fixes.length, 'each fix once')
    .default([]),
  notes: prose(20_000).default(''),
  advisory: Advisory.optional(),
  /** Of a security release that is not on a maintenance line: why its fixes could not be kept apart from features. */
  mixedReason: MixedReason.optional(),
})

export const ReleaseActionBody = z.strictObject({ action: z.enum(releaseActions) })

export const ReleaseView = z.object({
  id: z.uuid(),
  model: z.string(),
  component: z.string(),
  version: z.string(),
  build: z.int(),
  svn: z.int(),
  class: z.enum(['security', 'feature', 'config']),
  artifactId: z.uuid(),
  hardwareIds: z.array(z.string()),
  minPrevious: z.int().nullable(),
  requires: z.record(z.string(), z.int()),
  fixes: z.array(z.string()),
  notes: z.string(),
  advisory: Advisory.nullable(),
  mixedReason: MixedReason.nullable(),
  state: z.enum(releaseStates),
  /** Of `fw-<model>`: the version this release was published with, or is drafted for. */
  metadataVersion: z.int().nullable(),
  createdBy: z.string(),
  createdAt: z.iso.datetime(),
  publishedAt: z.iso.datetime().nullable(),
})
export type ReleaseView = z.infer<typeof ReleaseView>

export const ReleasesQuery = z.strictObject({ model: name.optional() })
