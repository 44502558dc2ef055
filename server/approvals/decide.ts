import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Actor } from '../http/access.ts'
import type { ApprovalAction } from '../protocol/approvals.ts'
import { mayDecide, readableBy } from './rights.ts'
import { endRequest, insertVoice, listRequests, lockRequest, type Request } from './store.ts'

export interface Decision {
  approvalId: string
  action: ApprovalAction
  reason: string | undefined
  by: Actor
}

/**
 * One person's word on what another one wants to do: `approve`, or `reject`, which ends it; its author takes it back with `withdraw`. The
 * same word again changes nothing.
 *
 * @throws DomainError `not-found`; `not-allowed` for who may not do the thing himself, and for its author; `conflict` for what is over
 */
export async function decide(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  decision: Decision,
): Promise<Request> {
  const { approvalId, action, reason, by } = decision
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    await mustSee(tx, approvalId, by)
    const request = await lockRequest(tx, approvalId, 'fleet')
    mustBeOpen(request, now)
    if (!(await apply(tx, request, { ...decision, now }))) return request
    await recordAudit(tx, {
      at: now,
      actor: by.id,
      action: `approval.${action}`,
      subject: approvalId,
      facts: {
        kind: request.kind,
        of: request.subject,
        voice: by.voice,
        hash: request.hash.toString('hex'),
        ...(reason === undefined ? {} : { reason }),
      },
      requestId: by.requestId,
    })
    return await lockRequest(tx, approvalId, 'fleet')
  })
}

async function apply(
  tx: Tx,
  request: Request,
  { action, by, reason, now }: Decision & { now: Date },
): Promise<boolean> {
  const { id } = request
  switch (action) {
    case 'approve':
      mustBeAnother(request, by)
      return await insertVoice(tx, {
        request_id: id,
        voice: by.voice,
        actor: by.id,
        reason: reason ?? null,
        at: now,
      })
    case 'reject':
      mustBeAnother(request, by)
      return await endRequest(tx, id, { state: 'rejected', at: now })
    case 'withdraw':
      if (by.voice !== request.author_voice) {
        throw new DomainError(
          'not-allowed',
          'Whoever asked for it takes it back: you can reject it',
        )
      }
      return await endRequest(tx, id, { state: 'withdrawn', at: now })
    default:
      throw new DomainError('invalid-request', 'No such action')
  }
}

async function mustSee(tx: Tx, id: string, by: Actor): Promise<void> {
  const [seen] = await listRequests(tx, { reaches: readableBy(by), only: id, limit: 1 })
  if (!seen) throw new DomainError('not-found', 'No such request for approval', { approvalId: id })
}

function mustBeAnother(request: Request, by: Actor): void {
  if (by.voice === request.author_voice) {
    throw new DomainError('not-allowed', 'Whoever asked for it does not decide on it: others do', {
      approvalId: request.id,
    })
  }
  if (mayDecide(by, request)) return
  throw new DomainError(
    'not-allowed',
    'Only those who may do it themselves decide on it: ask one of them',
    { approvalId: request.id },
  )
}

function mustBeOpen({ id: approvalId, state, expires_at }: Request, now: Date): void {
  if (state === 'open' && expires_at > now) return
  throw new DomainError(
    'conflict',
    state === 'open' ? 'Its time is over: it has to be asked for again' : `It is ${state} already`,
    { approvalId, state: state === 'open' ? 'expired' : state },
  )
}
