import { recordAudits } from '../audit/audit.ts'
import type { Tx } from '../db/client.ts'
import type { SecurityEvent } from '../events/record.ts'

const actions: Readonly<Record<string, string>> = {
  'illegal-report': 'report.refuse',
  'illegal-choice': 'choice.refuse',
}

/**
 * What devices may not say is audited where it was recorded as an event, which has an hour's limit. Returns the devices that
 * are to be told what counts (updates.md §7.1): they say `hello` again, and so get the bundle of this moment.
 */
export async function auditRefusals(
  tx: Tx,
  recorded: readonly SecurityEvent[],
  now: Date,
): Promise<string[]> {
  const entries = recorded.flatMap(({ kind, deviceId, facts }) => {
    const action = actions[kind]
    if (action === undefined || deviceId === undefined) return []
    const { deploymentId } = facts
    const subject = typeof deploymentId === 'string' ? deploymentId : deviceId
    return [{ action, deviceId, subject, facts }]
  })
  await recordAudits(
    tx,
    entries.map(({ deviceId, ...entry }) => ({ at: now, actor: `device:${deviceId}`, ...entry })),
  )
  return [...new Set(entries.map(({ deviceId }) => deviceId))]
}
