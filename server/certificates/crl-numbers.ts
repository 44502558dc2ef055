import type { Tx } from '../db/client.ts'

/** The next lists have higher numbers than any that can have been published since these were (RFC 5280 §5.2.3). */
export async function raiseCrlNumbers(tx: Tx, by: number): Promise<void> {
  await tx
    .updateTable('crl')
    .set((eb) => ({ number: eb('number', '+', by) }))
    .execute()
}
