import { z } from 'zod'

import type { Context } from '../context.ts'
import { firstIdOf } from '../ids.ts'
import { findLastRefusal } from './store.ts'
import type { DeviceView } from './wire.ts'

const lookBackMs = 90 * 86_400_000

/** Of a bundle the code stands before the detail; of a deployment it is a fact of its own. */
const Facts = z.object({
  code: z.string().nullish(),
  detail: z.string().nullish(),
  deploymentId: z.string().nullish(),
})

/** What the device last refused within 90 days, so that an operator sees an attack where they look first. */
export async function lastRefusalOf(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  deviceId: string,
): Promise<DeviceView['lastRefusal']> {
  const since = firstIdOf(new Date(clock.now().getTime() - lookBackMs))
  const event = await findLastRefusal(db, deviceId, since)
  if (!event) return null
  const parsed = Facts.safeParse(event.facts)
  const { code, detail, deploymentId } = parsed.success ? parsed.data : {}
  const [, before, after] = /^([a-z0-9-]{1,32}): (.*)$/s.exec(detail ?? '') ?? []
  return {
    code: code ?? before ?? null,
    detail: (code == null ? after : undefined) ?? detail ?? null,
    deploymentId: deploymentId ?? null,
    at: event.at.toISOString(),
  }
}
