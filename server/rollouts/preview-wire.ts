import { z } from 'zod'

export const PreviewView = z.object({
  /** Members of the group. */
  devices: z.number(),
  /** Of a large group: how many of them were looked at; the numbers are what follows for all. */
  sampled: z.number().nullable(),
  /** Those that the release could be offered to now. */
  eligible: z.number(),
  /** Why the others could not; each device once, by the first reason that applies. */
  excluded: z.record(z.string(), z.number()),
  /**
   * Eligible devices that each phase adds. Exact for a rollout that exists; for a definition the expected number, since every
   * rollout draws anew who comes first.
   */
  phases: z.array(
    z.object({
      no: z.number(),
      percent: z.number().nullable(),
      devices: z.number(),
      /** What the least number of this phase says when all of them succeed. */
      says: z.string(),
    }),
  ),
  exact: z.boolean(),
  /** By simulation: all succeed, people who have to open a phase do it at once, and devices come as they came lately. */
  estimate: z.object({
    /** Eligible devices that were heard of within a week. */
    reachable: z.number(),
    /** From the start until half of those, and 95 % of them, are done; null when that takes longer than 90 days or never comes. */
    halfDoneHours: z.number().nullable(),
    mostDoneHours: z.number().nullable(),
    /** In each of the first hours, as many as it takes to the end or 168. */
    admissionsPerHour: z.array(z.number()),
    /** Images of all of them, without deltas, and the most that falls into one hour. */
    bytes: z.number(),
    bytesPerHour: z.number(),
    /** Phases after which a person has to open the next. */
    waitsForPerson: z.array(z.number()),
    /** The phase after which nothing opens, because fewer devices come than it needs. */
    stopsAt: z.number().nullable(),
  }),
  /** With how many failures among so many executed devices it would stop; null: that few are no reason. */
  stops: z.array(
    z.object({ rule: z.string(), executed: z.number(), failures: z.number().nullable() }),
  ),
})
export type PreviewView = z.infer<typeof PreviewView>
