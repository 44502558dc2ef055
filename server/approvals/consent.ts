import { createHash } from 'node:crypto'

import { grantsOf } from '../access/grants.ts'
import { activeAmong } from '../access/holders.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Db, Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Actor } from '../http/access.ts'
import { newId } from '../ids.ts'
import type { ApprovalKind } from '../protocol/approvals.ts'
import { canonicalJson } from '../rollouts/definition.ts'
import type { Consent, ConsentFacts } from './agreed.ts'
import { mayDecide } from './rights.ts'
import {
  clearRequests,
  endRequest,
  findPolicy,
  insertRequest,
  lockAsked,
  openOf,
  type Policy,
  type Request,
  type Voice,
  voicesOf,
} from './store.ts'

/** What somebody is about to do. */
export interface Intent {
  kind: ApprovalKind
  /** What it is done to: an id or a name. */
  subject: string
  /** Of a group: who decides is limited to those whose permission reaches it. */
  groupId?: string
  /** What is asked, as the caller said it; shown to those who decide, so never a secret. */
  asked: Readonly<Record<string, unknown>>
  by: Actor
}

const mostOpen = 50
const keepMs = 90 * 86_400_000

/** Thrown out of the service's transaction, which thereby changes nothing; becomes `approval-needed`. */
class ConsentMissing extends Error {
  readonly intent: Intent
  readonly policy: Policy
  readonly hash: Buffer
  constructor(intent: Intent, policy: Policy, hash: Buffer) {
    super('others have to agree')
    this.intent = intent
    this.policy = policy
    this.hash = hash
  }
}

/**
 * Does something that by policy may need more than one person. With enough consent it is done, and the consent used up in the same
 * transaction; without, nothing is done and the wish is kept for others to decide: its author then makes the same call again.
 *
 * @throws DomainError `approval-needed` with `approvalId`; `quota-exhausted` for who asks for too much at a time
 */
export async function withConsent<T>(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  intent: Intent,
  work: (consent: Consent) => Promise<T>,
): Promise<T> {
  const now = clock.now()
  try {
    return await work(async (tx, state) => await takeConsent(tx, intent, { state, now }))
  } catch (error) {
    if (!(error instanceof ConsentMissing)) throw error
    // One within another: what is missing may be the other's.
    const { intent: missing, policy, hash } = error
    const request = await inTransaction(
      db,
      async (tx) => await ask(tx, missing, { policy, hash, now }),
    )
    const given = (await countingVoices(db, request, now)).length
    throw new DomainError(
      'approval-needed',
      `${policy.needed} others have to agree and ${given} did: they see it in GET /approvals. Then make the same call again`,
      {
        approvalId: request.id,
        needed: policy.needed,
        given,
        expiresAt: request.expires_at.toISOString(),
      },
    )
  }
}

/** For a change of who may do what. */
export async function withRoleConsent<T>(
  ctx: Pick<Context, 'db' | 'clock'>,
  intent: Omit<Intent, 'kind'>,
  work: (consent: Consent) => Promise<T>,
): Promise<T> {
  return await withConsent(ctx, { ...intent, kind: 'role-change' }, work)
}

async function takeConsent(
  tx: Tx,
  intent: Intent,
  { state, now }: { state: unknown; now: Date },
): Promise<ConsentFacts> {
  const policy = await findPolicy(tx, intent.kind)
  if (!policy || policy.needed === 0) return {}
  const hash = hashOf(intent, state)
  const request = await lockAsked(tx, { hash, authorVoice: intent.by.voice, now })
  if (!request) throw new ConsentMissing(intent, policy, hash)
  const voices = await countingVoices(tx, request, now)
  if (voices.length < policy.needed) throw new ConsentMissing(intent, policy, hash)
  if (!(await endRequest(tx, request.id, { state: 'used', at: now }))) {
    throw new ConsentMissing(intent, policy, hash)
  }
  return { approvalId: request.id, approvedBy: voices.map(({ actor }) => actor) }
}

/** The words for a request that count: of others, who can still sign in and may still do it themselves. */
export async function countingVoices(db: Db, request: Request, now: Date): Promise<Voice[]> {
  const all = (await voicesOf(db, [request.id])).filter(
    ({ voice }) => voice !== request.author_voice,
  )
  const active = await activeAmong(
    db,
    all.map(({ actor }) => actor),
    now,
  )
  const counting: Voice[] = []
  for (const voice of all) {
    if (!active.has(voice.actor)) continue
    if (mayDecide({ grants: await grantsOf(db, voice.actor) }, request)) counting.push(voice)
  }
  return counting
}

async function ask(
  tx: Tx,
  intent: Intent,
  { policy, hash, now }: { policy: Policy; hash: Buffer; now: Date },
): Promise<Request> {
  const { kind, subject, groupId, asked, by } = intent
  await clearRequests(tx, now, keepMs)
  const present = await lockAsked(tx, { hash, authorVoice: by.voice, now })
  if (present) return present
  if ((await openOf(tx, by.voice)) >= mostOpen) {
    throw new DomainError(
      'quota-exhausted',
      `You wait for ${mostOpen} approvals already: withdraw some of them`,
    )
  }
  const request: Request = {
    id: newId(now),
    kind,
    subject,
    group_id: groupId ?? null,
    hash,
    asked,
    author: by.id,
    author_voice: by.voice,
    state: 'open',
    created_at: now,
    expires_at: new Date(now.getTime() + policy.expires_hours * 3_600_000),
    ended_at: null,
  }
  if (!(await insertRequest(tx, request))) {
    // The same at the same moment, in another process.
    return (await lockAsked(tx, { hash, authorVoice: by.voice, now })) ?? request
  }
  await recordAudit(tx, {
    at: now,
    actor: by.id,
    action: 'approval.ask',
    subject: request.id,
    facts: {
      kind,
      of: subject,
      asked,
      needed: policy.needed,
      hash: hash.toString('hex'),
      expiresAt: request.expires_at.toISOString(),
    },
    requestId: by.requestId,
  })
  return request
}

function hashOf({ kind, subject, asked }: Intent, state: unknown): Buffer {
  const plain = JSON.parse(
    JSON.stringify({ kind, subject, asked, state: state ?? null }),
  ) as unknown
  return createHash('sha256').update(canonicalJson(plain)).digest()
}
