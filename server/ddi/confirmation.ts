import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { storable } from '../db/storable.ts'
import { inTransaction } from '../db/transaction.ts'
import { storeChoices } from '../deployments/choice.ts'
import { afterReports } from '../deployments/messages.ts'
import { type Poller, setAutoConfirm } from './device-store.ts'
import { objectIn } from './feedback.ts'

/**
 * The owner's answer, through a generic client (ddi.md §9): `confirmed` accepts this update, `denied` opts out of it; both go into the
 * ledger like any other choice. What is neither is noted by nobody and answered like the others.
 */
export async function takeConfirmation(ctx: Context, poller: Poller, body: Buffer): Promise<void> {
  const said = objectIn(body.toString('utf8'))?.['confirmation']
  if (said === 'confirmed') await confirm(ctx, poller, 'accept')
  if (said === 'denied') await confirm(ctx, poller, 'optOut')
}

export async function confirm(
  ctx: Context,
  { deployment, device_id: deviceId }: Poller,
  choice: 'accept' | 'optOut',
): Promise<void> {
  if (!deployment) return
  const message = { deviceId, body: { deploymentId: deployment.id, choice } }
  const now = ctx.clock.now()
  const result = await inTransaction(ctx.db, (tx) => storeChoices(tx, [message], now))
  await afterReports(ctx, { ...result, commits: [] })
}

const longest = { initiator: 256, remark: 512 }

/** Agrees beforehand, or no longer, to every update that would ask (ddi.md §1, 12 and 13). Saying it twice changes and records nothing. */
export async function takeAutoConfirm(
  ctx: Pick<Context, 'db' | 'clock'>,
  deviceId: string,
  body: Buffer | 'end',
): Promise<void> {
  const at = ctx.clock.now()
  const said = body === 'end' ? undefined : (objectIn(body.toString('utf8')) ?? {})
  const set = said && {
    at,
    by: textIn(said['initiator'], longest.initiator),
    remark: textIn(said['remark'], longest.remark),
  }
  await inTransaction(ctx.db, async (tx) => {
    if (!(await setAutoConfirm(tx, deviceId, set))) return
    const facts = set ? { initiator: set.by, remark: set.remark } : {}
    const action = set ? 'ddi.auto-confirm' : 'ddi.auto-confirm-end'
    await recordAudit(tx, { at, actor: `device:${deviceId}`, action, subject: deviceId, facts })
  })
}

function textIn(value: unknown, most: number): string | null {
  return typeof value === 'string' && value !== '' ? storable(value.slice(0, most)) : null
}

/** `confirmationBase` itself (ddi.md §2): is it agreed beforehand, since when, and how to change that. */
export function confirmationAnswer(
  base: string,
  poller: Poller,
  waiting: { href: string } | undefined,
): Record<string, unknown> {
  const { auto_confirm_at: at, auto_confirm_by: initiator, auto_confirm_remark: remark } = poller
  const href = (name: string) => ({ href: `${base}/confirmationBase/${name}` })
  return {
    autoConfirm: {
      active: at !== null,
      ...(at === null ? {} : { initiator, remark, activatedAt: at.getTime() }),
    },
    _links: {
      ...(at === null
        ? { activateAutoConfirm: href('activateAutoConfirm') }
        : { deactivateAutoConfirm: href('deactivateAutoConfirm') }),
      // Who agreed beforehand is asked nothing.
      ...(waiting && at === null ? { confirmationBase: waiting } : {}),
    },
  }
}
