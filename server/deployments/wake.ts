import type { Context } from '../context.ts'
import type { Command } from '../protocol/messages.ts'
import { awaitedCommits } from './report-store.ts'

/**
 * Asks devices, wherever they are connected, to say `hello` again, which gets them a fresh bundle. A hint: one that is
 * lost is made good by the device's next `hello`, or by the worker that looks after connected devices.
 */
export async function wakeDevices(
  { bus }: Pick<Context, 'bus'>,
  deviceIds: readonly string[],
): Promise<void> {
  if (deviceIds.length > 0) await bus.publish('wake', deviceIds)
}

/** A notification comes twice to the process that sent it, directly and as its echo; this long is waited to send one. */
const gatherMs = 25
/** Every `hello` costs two signatures: so many at a time. */
const perTurn = 100

/**
 * Passes wakes on to the devices that are connected to this process. Called once, at start. `tell` is for those that only
 * listen to their bundle: they cannot be asked, so they are told.
 */
export function subscribeWake(
  ctx: Pick<Context, 'bus' | 'transport' | 'log'>,
  tell: (deviceId: string) => void = () => {},
): void {
  // Holds connected devices only, so it is bounded as connections are.
  const waiting = new Set<string>()
  let timer: NodeJS.Timeout | undefined
  const refresh: Command = { command: 'refresh' }
  const send = async () => {
    timer = undefined
    const ids = [...waiting].slice(0, perTurn)
    for (const id of ids) waiting.delete(id)
    if (waiting.size > 0) schedule()
    const sent = await ctx.transport.sendToMany(ids, 'command', refresh)
    for (const [index, id] of ids.entries()) if (sent[index] === 'unsubscribed') tell(id)
  }
  const schedule = () => {
    timer ??= setTimeout(() => {
      send().catch((error: unknown) => ctx.log.warn({ err: error }, 'devices could not be woken'))
    }, gatherMs).unref()
  }
  ctx.bus.subscribe('wake', (ids) => {
    for (const id of ids) if (ctx.transport.isConnected(id)) waiting.add(id)
    if (waiting.size > 0) schedule()
  })
}

export interface Commit {
  deviceId: string
  deploymentId: string
  commitNonce: string
}

/** Gives devices in `testing` the nonce that they have to bring back (updates.md §7.3). */
export async function sendCommits(
  { transport }: Pick<Context, 'transport'>,
  commits: readonly Commit[],
): Promise<void> {
  await Promise.all(
    commits.map(async ({ deviceId, deploymentId, commitNonce }) => {
      const body: Command = { command: 'commit', deploymentId, commitNonce }
      await transport.send(deviceId, 'command', body)
    }),
  )
}

/** The same again for those of these devices that are in `testing`: the first time may have been lost. */
export async function resendCommits(
  ctx: Pick<Context, 'db' | 'transport'>,
  deviceIds: readonly string[],
): Promise<void> {
  await sendCommits(ctx, await awaitedCommits(ctx.db, deviceIds))
}
