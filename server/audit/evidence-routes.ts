import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

import { z } from 'zod'

import { noteKeyText } from '../../pki/signed-note.ts'
import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { streamRoute } from '../http/stream-route.ts'
import { standingActors, stillReaches } from '../operators/standing.ts'
import {
  type AuditKeyRow,
  type CheckpointRow,
  type Hold,
  listAuditKeys,
  listCheckpoints,
} from './evidence-store.ts'
import { exportChain } from './export.ts'
import { publicAuditKey, rotateAuditKey } from './keys.ts'
import { auditStatus, setHold } from './status.ts'
import {
  AuditKeyView,
  AuditStatusView,
  CheckpointView,
  ExportQuery,
  HoldBody,
  HoldView,
} from './wire.ts'

export const auditEvidenceRoutes = [
  route({
    method: 'get',
    path: '/audit/status',
    summary: 'Where the audit log begins and ends, what was signed, and who could change it',
    permission: 'audit:read',
    scope: 'fleet',
    response: AuditStatusView,
    handle: async ({ ctx }) => {
      const { head, checkpoint, hold, ...status } = await auditStatus(ctx)
      return {
        ...status,
        head: head ? { chainNo: head.chainNo, hash: head.hash.toString('hex') } : null,
        checkpoint: checkpoint ? checkpointView(checkpoint) : null,
        hold: hold ? holdView(hold) : null,
        keptDays: ctx.config.auditDays ?? null,
        rightsSeparated: status.excessiveRights.length === 0,
      }
    },
  }),

  route({
    method: 'get',
    path: '/audit/keys',
    summary: 'The public keys that checkpoints of the audit log are signed with, newest first',
    permission: 'audit:read',
    scope: 'fleet',
    query: PageQuery,
    response: Page(AuditKeyView),
    handle: async ({ ctx, query }) => {
      const keys = (await listAuditKeys(ctx.db)).toReversed()
      const at = keys.findIndex(({ id }) => id === query.cursor) + 1
      return pageOf(keys.slice(at), query.limit, keyView, ({ id }) => id)
    },
  }),

  route({
    method: 'post',
    path: '/audit/keys',
    summary: 'Replace the key of the audit log by a new one, which the one before signs',
    permission: 'audit:manage',
    scope: 'fleet',
    refuses: ['not-ready'],
    status: 201,
    creates: true,
    response: AuditKeyView,
    handle: async ({ ctx, actor, newId }) => {
      const { id, requestId } = actor
      return keyView(await rotateAuditKey(ctx, { id: newId, actor: id, requestId }))
    },
  }),

  route({
    method: 'get',
    path: '/audit/checkpoints',
    summary: 'Where the chain ended at moments, signed, newest first',
    permission: 'audit:read',
    scope: 'fleet',
    query: PageQuery,
    response: Page(CheckpointView),
    handle: async ({ ctx, query }) => {
      const page = { before: query.cursor, limit: query.limit + 1 }
      const rows = await listCheckpoints(ctx.db, page)
      return pageOf(rows, query.limit, checkpointView, (row) => String(row.chain_no))
    },
  }),

  route({
    method: 'put',
    path: '/audit/hold',
    summary: 'Keep everything from being dropped, as for an inquiry, or end that',
    permission: 'audit:manage',
    scope: 'fleet',
    body: HoldBody,
    response: HoldView,
    handle: async ({ ctx, body, actor }) =>
      holdView(await setHold(ctx, { ...body, actor: actor.id, requestId: actor.requestId })),
  }),

  streamRoute({
    path: '/audit/export',
    summary: 'The whole chain with the keys and checkpoints that verify it, one JSON object a line',
    permission: 'audit:read',
    scope: 'fleet',
    costly: true,
    refuses: ['not-found', 'not-ready'],
    query: ExportQuery,
    answers: { 'application/x-ndjson': z.string() },
    shared: () => undefined,
    handle: async ({ ctx, req, res, actor, query }) => {
      const pages = whileAllowed(ctx, actor.id, exportChain(ctx, query))
      // What cannot be exported is a problem and not an empty file.
      const first = await pages.next()
      res.type('application/x-ndjson')
      res.setHeader('Content-Disposition', 'attachment; filename="audit.ndjson"')
      if (req.method === 'HEAD') {
        await pages.return(undefined)
        return void res.end()
      }
      const text = async function* () {
        if (!first.done) yield first.value
        yield* pages
      }
      await pipeline(Readable.from(text()), res).catch((error: unknown) => {
        ctx.log.info({ err: error }, 'an export of the audit log was not read to its end')
      })
    },
  }),
]

/** A caller who may not read the log any more is handed no further page, however slowly he reads. */
async function* whileAllowed(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  actor: string,
  pages: AsyncIterable<string>,
): AsyncGenerator<string> {
  const began = { actor, permission: 'audit:read', reach: 'fleet' } as const
  for await (const page of pages) {
    if (!stillReaches(await standingActors(db, [actor], clock.now()), began)) {
      throw new DomainError('not-allowed', 'The caller may not read the audit log any more')
    }
    yield page
  }
}

function keyView(row: AuditKeyRow): AuditKeyView {
  return {
    id: row.id,
    key: noteKeyText(publicAuditKey(row)),
    endorsement: row.endorsement,
    createdAt: row.created_at.toISOString(),
    retiredAt: row.retired_at?.toISOString() ?? null,
  }
}

function checkpointView(row: CheckpointRow): CheckpointView {
  return {
    chainNo: row.chain_no,
    hash: row.hash.toString('hex'),
    at: row.at.toISOString(),
    keyId: row.key_id,
    note: row.note,
  }
}

function holdView({ held, reason, actor, at }: Hold): HoldView {
  return { held, reason, actor, at: at.toISOString() }
}
