import { z } from 'zod'

import { deploymentStates } from '../../server/protocol/deployment.ts'
import { Choice, DeviceEvent, Report } from '../../server/protocol/messages.ts'
import type { Disk } from '../disk.ts'
import { replaceFile } from '../disk.ts'
import { DeviceError } from '../errors.ts'
import { LedgerEntry } from './ledger.ts'

/** Milliseconds since 1970 of the device's trusted time. */
const at = z.int().min(0)
/** At least what metadata may hold: a journal that cannot be read again is a dead device. */
const text = z.string().max(1_024)

const Policy = z.strictObject({
  class: z.enum(['security', 'feature', 'config']),
  auto: z.boolean(),
  consent: z.enum(['none', 'install', 'download+install']),
  optOut: z.enum(['honored', 'managed']),
  urgency: z.enum(['normal', 'exploited']),
  window: z.array(text).max(1_024),
  postpone: z
    .strictObject({ eachH: z.int(), graceH: z.int(), maxCount: z.int(), totalH: z.int() })
    .optional(),
  advisory: z.strictObject({ id: text, severity: text, url: text }).optional(),
  /** Hours that the model's maker thinks quiet; the owner's own come first. */
  quiet: z.array(text).max(64).optional(),
  /** What the owner is told; texts as server/protocol/notice.ts encodes them. */
  notice: z.strictObject({ text, action: text.optional(), sha256: text }).optional(),
  override: z.strictObject({ by: z.array(text).max(8), reason: text, until: text }).optional(),
})
export type TaskPolicy = z.infer<typeof Policy>

const Target = z.strictObject({
  path: text,
  component: z.string().min(1).max(32),
  version: z.string().min(1).max(64),
  build: z.int().min(0),
  svn: z.int().min(0),
  length: z.int().min(0),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  fixes: z.array(text).max(1_024),
})
export type TaskTarget = z.infer<typeof Target>

const slot = z.enum(['a', 'b'])

/** One deployment, as far as this device is with it. */
export const Task = z.strictObject({
  deploymentId: z.uuid(),
  state: z.enum(deploymentStates),
  target: Target,
  policy: Policy,
  /** The owner said yes to this one. */
  accepted: z.boolean().default(false),
  /** Where it is written; known from `installing` on. */
  slot: slot.optional(),
  /** Images of other components that are installed with it, and rolled back with it. */
  also: z
    .array(z.strictObject({ target: Target, slot: slot.optional() }))
    .max(31)
    .default([]),
  attempts: z.int().min(0).default(0),
  retryAt: at.optional(),
  testingSinceAt: at.optional(),
  installingSinceAt: at.optional(),
  /** The server's word that it saw the new image connect; kept before anything is done about it. */
  commitNonce: z.string().max(64).optional(),
  code: z.string().max(32).optional(),
  detail: text.optional(),
})
export type Task = z.infer<typeof Task>

/** One image of a task. The first one is the deployment's own; the others come with it. */
export type Part = Pick<Task, 'target' | 'slot'>

export function partsOf({ target, slot: first, also }: Task): Part[] {
  return [{ target, ...(first && { slot: first }) }, ...also]
}

/** What the owner was offered and answered, by release, so that another deployment of it starts no new count. */
const Offer = z.strictObject({
  key: z.string().max(160),
  /** Of the first offer the server acknowledged: where the deadline counts from (updates.md 7.2). */
  firstAt: at.optional(),
  postponed: z.array(z.strictObject({ at, until: at })).max(1_000),
  declined: z.boolean().default(false),
  /** The latest deadline that the owner was told: it never moves earlier (updates.md 7.2). */
  deadlineAt: at.optional(),
  /** Of the newest advisory, when it was not there from the beginning. */
  advisoryAt: at.optional(),
  /** When the owner was last told of it. */
  toldAt: at.optional(),
})
export type Offer = z.infer<typeof Offer>

const Owner = z.strictObject({
  /** The standing choice: notify only. */
  optOut: z.boolean().default(false),
  /** Nothing of what happens to the device is written down for others or told to them. */
  monitoringOff: z.boolean().optional(),
  /** A postponement that was asked for before anything was offered; used by the next offer. */
  postponeNext: z.strictObject({ until: at.optional() }).optional(),
  /** The owner's hours in which a restart does not disturb, in a zone of the IANA list. */
  quiet: z.strictObject({ spans: z.array(text).max(8), zone: text.optional() }).optional(),
})
export type Owner = z.infer<typeof Owner>

const Entry = z.discriminatedUnion('leaf', [
  z.strictObject({ leaf: z.literal('report'), seq: z.int(), body: Report }),
  z.strictObject({ leaf: z.literal('choice'), seq: z.int(), body: Choice }),
  z.strictObject({ leaf: z.literal('event'), seq: z.int(), body: DeviceEvent }),
])
export type Entry = z.infer<typeof Entry>
export type Message =
  | { leaf: 'report'; body: Report }
  | { leaf: 'choice'; body: Choice }
  | { leaf: 'event'; body: DeviceEvent }

const Journal = z.strictObject({
  seq: z.int().min(0).default(0),
  task: Task.optional(),
  offers: z.array(Offer).max(64).default([]),
  owner: Owner.default({ optOut: false }),
  queue: z.array(Entry).max(512).default([]),
  /** Of choices handed in by the command line, so that one is never taken twice. */
  handled: z
    .array(z.strictObject({ id: z.string().max(120), outcome: text }))
    .max(64)
    .default([]),
  ledger: z.array(LedgerEntry).max(512).default([]),
  /** The newest bundle that was refused, whether or not it belonged to a task. */
  lastRefusal: z.strictObject({ at, code: text, detail: text }).optional(),
  /** How long the last installation took, from the first byte to the restart, in milliseconds. */
  installMs: z.int().min(0).optional(),
})
/**
 * The device's own record of one deployment, the owner's word and what the server has not acknowledged: one file, replaced
 * whole, so that a move and its report are stored together or not at all.
 */
export type Journal = z.infer<typeof Journal>

const file = 'journal.json'
const maxBytes = 2_097_152
const maxQueue = 256
const maxOffers = 32

export async function loadJournal(disk: Disk): Promise<Journal> {
  const bytes = await disk.read(file, maxBytes)
  if (!bytes) return Journal.parse({})
  try {
    return Journal.parse(JSON.parse(bytes.toString('utf8')))
  } catch (cause) {
    // The owner's choice is in it: to go on without would be to forget it.
    throw new DeviceError('damaged', 'journal.json is damaged', 'Enroll the device anew', { cause })
  }
}

/** Throws for a journal that could not be loaded again; nothing is written then. */
export async function saveJournal(disk: Disk, journal: Journal): Promise<void> {
  const bytes = Buffer.from(JSON.stringify(Journal.parse(journal)))
  if (bytes.length > maxBytes) throw new Error('The journal is too long')
  await replaceFile(disk, file, bytes)
}

/** The journal with a message at the end of its queue; without an event when the owner wants none told. A full queue loses its oldest events first, then its oldest. */
export function queued(journal: Journal, message: Message): Journal {
  if (message.leaf === 'event' && journal.owner.monitoringOff === true) return journal
  const seq = journal.seq + 1
  const queue = [...journal.queue, Entry.parse({ ...message, seq })]
  if (queue.length > maxQueue) {
    const event = queue.findIndex(({ leaf }) => leaf === 'event')
    queue.splice(Math.max(event, 0), 1)
  }
  return { ...journal, seq, queue }
}

/** The journal without a message that the server acknowledged. */
export function acknowledged(journal: Journal, seq: number): Journal {
  return { ...journal, queue: journal.queue.filter((entry) => entry.seq !== seq) }
}

export function offerKey({ component, build, sha256 }: TaskTarget): string {
  return `${component}:${build}:${sha256}`
}

export function offerOf(journal: Journal, target: TaskTarget): Offer {
  const key = offerKey(target)
  return journal.offers.find((one) => one.key === key) ?? { key, postponed: [], declined: false }
}

/** The journal with this offer as its newest; the oldest ones beyond the limit are forgotten. */
export function withOffer(journal: Journal, offer: Offer): Journal {
  const others = journal.offers.filter(({ key }) => key !== offer.key)
  return { ...journal, offers: [...others, offer].slice(-maxOffers) }
}
