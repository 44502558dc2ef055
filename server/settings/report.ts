import { randomBytes } from 'node:crypto'

import type { Tx } from '../db/client.ts'
import { storable } from '../db/storable.ts'
import type { Report } from '../protocol/messages.ts'
import { type Judged, lockWanted, settingsAmong, updateWanted } from './store.ts'

interface Told {
  deviceId: string
  body: Report
}

/**
 * Devices report about their own settings as they do about deployments, under the id of the settings. Stores what is said of
 * those, and gives back the other messages, and what is to be sent to devices that have them in test (updates.md 7.3).
 */
export async function storeSettingsReports<T extends Told>(
  tx: Tx,
  messages: readonly T[],
  now: Date,
): Promise<{
  others: T[]
  commits: { deviceId: string; deploymentId: string; commitNonce: string }[]
}> {
  if (messages.length === 0) return { others: [], commits: [] }
  const ids = [...new Set(messages.map(({ body }) => body.deploymentId))]
  const owners = await settingsAmong(tx, ids)
  if (owners.size === 0) return { others: [...messages], commits: [] }
  const isOwn = ({ deviceId, body }: T) => owners.get(body.deploymentId) === deviceId
  const wanted = new Map((await lockWanted(tx, [...owners.keys()])).map((row) => [row.id, row]))
  const commits = new Map<string, { deviceId: string; deploymentId: string; commitNonce: string }>()
  for (const { deviceId, body } of messages.filter(isOwn)) {
    const row = wanted.get(body.deploymentId)
    if (!row) continue
    const end = endOf(row, body)
    if (end) {
      await updateWanted(tx, row.id, end, now)
      wanted.delete(row.id)
      commits.delete(row.id)
    } else if (body.state === 'testing') {
      const commitNonce = row.commit_nonce ?? randomBytes(16).toString('hex')
      wanted.set(row.id, { ...row, commit_nonce: commitNonce })
      await updateWanted(tx, row.id, { commit_nonce: commitNonce }, now)
      commits.set(row.id, { deviceId, deploymentId: row.id, commitNonce })
    }
  }
  return { others: messages.filter((one) => !isOwn(one)), commits: [...commits.values()] }
}

/** Applied only with the nonce brought back and a hello that showed them; a refusal is believed. */
function endOf(row: Judged, { state, sha256, commitNonce, code, detail }: Report) {
  const why = { code: code ?? null, detail: detail === undefined ? null : storable(detail) }
  if (state === 'rolled_back') return { state: 'reverted' as const, ...why }
  if (state === 'failed_final') return { state: 'refused' as const, ...why }
  const isProven =
    row.commit_nonce !== null &&
    commitNonce === row.commit_nonce &&
    sha256 === row.sha256 &&
    row.installed_sha256 === row.sha256
  return state === 'succeeded' && isProven ? { state: 'applied' as const } : undefined
}
