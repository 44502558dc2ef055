import type { Request, Response } from 'express'

import type { Context } from '../context.ts'
import { storable } from '../db/storable.ts'
import { DomainError } from '../errors.ts'
import type { Identity } from '../identity.ts'
import { actionIdIn } from './action-id.ts'
import type { Where } from './answers.ts'
import type { Poller } from './device-store.ts'
import { getPoller } from './poller.ts'

export const tenant = 'DEFAULT'

/** @throws DomainError `not-authenticated` behind nothing that says who it is */
export function deviceOf(res: Response): string {
  const identity: unknown = res.locals['identity']
  if (!identity) throw new DomainError('not-authenticated', 'A device certificate is needed')
  // Set by http/device-auth.ts and by nothing else.
  return (identity as Identity).deviceId
}

/** What the device calls itself in the path. */
export function saidBy(req: Request): string {
  return String(req.params['controllerId'])
}

export function agentOf(req: Request): string {
  return storable((req.get('user-agent') ?? 'ddi').slice(0, 100))
}

/** How many messages are asked for; negative for all. */
export function historyIn(req: Request): number {
  return Math.trunc(Number(req.query['actionHistory'] ?? 0)) || 0
}

export function whereOf({ config }: Pick<Context, 'config'>, req: Request): Omit<Where, 'poller'> {
  const { publicHost, ports } = config
  // A port of 0 is only known to whoever asked for it.
  return { host: publicHost, port: ports.device || (req.socket.localPort ?? 0), tenant }
}

/** With the action that the path names, open; another one is not there, lest what comes next is taken for it. */
export async function pollerOf(
  ctx: Pick<Context, 'db'>,
  req: Request,
  res: Response,
): Promise<Poller> {
  const id = actionIdIn(String(req.params['actionId']))
  const poller = await getPoller(ctx, deviceOf(res))
  if (id === undefined || poller.action?.id !== id) throw notThere()
  if (poller.action.closed_at !== null) throw notThere()
  return poller
}

export function notThere(): DomainError {
  return new DomainError('not-found', 'There is no such action of this device')
}

export function done(res: Response): void {
  res.status(200).set('Content-Length', '0').end()
}
