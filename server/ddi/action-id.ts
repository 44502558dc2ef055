/**
 * Action ids (ddi.md §7.1): decimal, 32 bits, rising for each device, from 1,000,000,001 on. Without its first digit, which Zephyr's client
 * drops, such an id is a number that was never given out; 2,000,000,000 would become 0.
 */
export const firstActionId = 1_000_000_001
const last = 2_147_483_647

/** The id after `id`; undefined when there are no more. */
export function nextActionId(id: number | undefined): number | undefined {
  if (id === undefined) return firstActionId
  const next = id + 1 === 2_000_000_000 ? id + 2 : id + 1
  return next <= last ? next : undefined
}

/** The number in a path; undefined for what is no action id, ours or not. */
export function actionIdIn(text: string): number | undefined {
  if (!/^[0-9]{1,10}$/.test(text)) return undefined
  const id = Number(text)
  return id <= last ? id : undefined
}
