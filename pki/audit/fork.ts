/** A row of one of several accounts of the same log. */
export interface Told {
  chainNo: number
  hash: Buffer
}

export interface Fork {
  /** The first place that they tell differently. */
  chainNo: number
  /** Which of the accounts, by their places in the list. */
  between: [number, number]
}

/**
 * Reads several accounts of a log side by side and finds the first place where two of them differ. Each is in the order of the chain, from
 * anywhere; memory does not grow with them.
 */
export async function findFork(
  accounts: readonly AsyncIterator<Told>[],
): Promise<Fork | undefined> {
  const current = await Promise.all(accounts.map(async (account) => await nextOf(account)))
  for (;;) {
    const places = current.flatMap((told) => told?.chainNo ?? [])
    if (places.length < 2) return undefined
    const place = Math.min(...places)
    let first: { index: number; hash: Buffer } | undefined
    for (const [index, told] of current.entries()) {
      if (told?.chainNo !== place) continue
      if (first && !first.hash.equals(told.hash)) {
        return { chainNo: place, between: [first.index, index] }
      }
      first ??= { index, hash: told.hash }
      const account = accounts[index]
      current[index] = account && (await nextOf(account))
    }
  }
}

async function nextOf(account: AsyncIterator<Told>): Promise<Told | undefined> {
  const { done, value } = await account.next()
  return done === true ? undefined : value
}
