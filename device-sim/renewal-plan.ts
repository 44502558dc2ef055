import { z } from 'zod'

import type { Disk } from './disk.ts'
import { replaceFile } from './disk.ts'

/** When the device means to renew a certificate. Kept, so that a restart neither forgets a hint nor spreads anew. */
export interface RenewalPlan {
  /** SHA-256 of the certificate, lower hex. */
  fingerprint: string
  /** What the server said, RFC 3339; the device's own choice without it. */
  hintAt?: string
  /** RFC 3339. */
  renewAt: string
}

export interface PlannedCertificate {
  fingerprint: string
  notBefore: Date
  notAfter: Date
}

const minuteMs = 60_000
const hourMs = 3_600_000
const longestCatchUpMs = 24 * hourMs
/** A hint beyond this is not believed: no word of a server may let a certificate run out. */
const latestPercent = 97
const ownPercent = 66
const ownJitterPercent = 15

/**
 * When to renew: at the server's hint; without one, some time after two thirds of the life. What is overdue, because the device or
 * the server was away, is spread over what is left, so that a fleet that wakes up together does not ask together.
 *
 * @param random 0 to 1
 */
export function planRenewal(
  { fingerprint, notBefore, notAfter }: PlannedCertificate,
  { hintAt, now, random }: { hintAt: Date | undefined; now: Date; random: number },
): RenewalPlan {
  const start = notBefore.getTime()
  const life = notAfter.getTime() - start
  const latest = start + (life * latestPercent) / 100
  const own = start + (life * (ownPercent + ownJitterPercent * random)) / 100
  const wished = Math.min(hintAt?.getTime() ?? own, latest)
  const planned =
    wished > now.getTime() ? wished : now.getTime() + catchUpMs(notAfter, now) * random
  return {
    fingerprint,
    ...(hintAt && { hintAt: hintAt.toISOString() }),
    renewAt: new Date(planned).toISOString(),
  }
}

/** A device whose certificate has ended does nothing until it has another: it waits least. */
function catchUpMs(notAfter: Date, now: Date): number {
  const leftMs = notAfter.getTime() - now.getTime()
  if (leftMs <= 0) return 10 * minuteMs
  return Math.min(Math.max(leftMs / 4, minuteMs), longestCatchUpMs)
}

/**
 * How long after a failure the next try comes: a minute, then longer each time, up to what the rest of the life allows, so that a
 * fleet which waits for its server comes back spread out; never sooner than the server asked.
 *
 * @param failures so far in a row, 1 or more
 */
export function retryDelayMs(
  { notAfter }: Pick<PlannedCertificate, 'notAfter'>,
  {
    failures,
    askedMs = 0,
    now,
    random,
  }: { failures: number; askedMs?: number | undefined; now: Date; random: number },
): number {
  const backOffMs = Math.min(minuteMs * 2 ** Math.min(failures - 1, 20), catchUpMs(notAfter, now))
  return Math.max(backOffMs, askedMs) * (1 + random / 2)
}

const file = 'renewal.json'
const maxBytes = 4_096
const instant = z.iso.datetime().max(40)
const Stored = z.strictObject({
  fingerprint: z.string().regex(/^[0-9a-f]{64}$/),
  hintAt: instant.optional(),
  renewAt: instant,
})

/** Undefined also for a plan that is damaged: another is made. */
export async function loadPlan(disk: Disk): Promise<RenewalPlan | undefined> {
  try {
    const bytes = await disk.read(file, maxBytes)
    if (!bytes) return undefined
    const { hintAt, ...plan } = Stored.parse(JSON.parse(bytes.toString('utf8')))
    return { ...plan, ...(hintAt !== undefined && { hintAt }) }
  } catch {
    return undefined
  }
}

export async function savePlan(disk: Disk, plan: RenewalPlan): Promise<void> {
  await replaceFile(disk, file, Buffer.from(JSON.stringify(plan)))
}
