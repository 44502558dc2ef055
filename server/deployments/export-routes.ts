import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

import { z } from 'zod'

import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { streamRoute } from '../http/stream-route.ts'
import { standingActors, stillReaches } from '../operators/standing.ts'
import type { Permission } from '../protocol/permissions.ts'
import type { Reach } from '../protocol/reach.ts'
import { requireRollout } from '../rollouts/reach.ts'
import { rolloutExists } from './export-store.ts'
import { csvLine, resultsOf } from './export.ts'
import { ResultQuery, ResultView } from './result-wire.ts'
import { RolloutParams } from './wire.ts'

const columns = ResultView.keyof().options

export const exportRoutes = [
  streamRoute({
    path: '/rollouts/:rolloutId/results',
    summary:
      'What became of every device that a rollout met, as one JSON array or CSV (RFC 4180), streamed',
    permission: 'rollouts:read',
    scope: 'devices',
    costly: true,
    params: RolloutParams,
    query: ResultQuery,
    answers: { 'application/json': z.array(ResultView), 'text/csv': z.string() },
    shared: () => undefined,
    handle: async ({ ctx, req, res, actor, reach, params: { rolloutId }, query: { format } }) => {
      await requireRollout(ctx.db, rolloutId, reach)
      if (!(await rolloutExists(ctx.db, rolloutId))) {
        throw new DomainError('not-found', 'No such rollout', { rolloutId })
      }
      const began = { actor: actor.id, permission: 'rollouts:read', reach } as const
      const pages = whileAllowed(ctx, began, resultsOf(ctx.db, { rolloutId, reach }))
      res.type(format === 'csv' ? 'text/csv' : 'application/json')
      res.setHeader('Content-Disposition', `attachment; filename="rollout-${rolloutId}.${format}"`)
      if (req.method === 'HEAD') return void res.end()
      const text = format === 'csv' ? asCsv(pages) : asJson(pages)
      // A reader that leaves ends it; a failure breaks the connection, so that nobody takes a part for the whole.
      await pipeline(Readable.from(text), res).catch((error: unknown) => {
        ctx.log.info({ err: error, rolloutId }, 'an export was not read to its end')
      })
    },
  }),
]

/** A key that was revoked or may do less meanwhile is handed no further page, however slowly its holder reads. */
export async function* whileAllowed(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  began: { actor: string; permission: Permission; reach: Reach },
  pages: AsyncIterable<ResultView[]>,
): AsyncGenerator<ResultView[]> {
  let isFirst = true
  for await (const page of pages) {
    if (!isFirst && !stillReaches(await standingActors(db, [began.actor], clock.now()), began)) {
      throw new DomainError('not-allowed', 'The key was revoked, is over or may do less: ask again')
    }
    isFirst = false
    yield page
  }
}

async function* asCsv(pages: AsyncIterable<ResultView[]>): AsyncGenerator<string> {
  yield csvLine(columns)
  for await (const page of pages) {
    yield page.map((row) => csvLine(columns.map((column) => row[column]))).join('')
  }
}

/** One object a line, so that the array can also be read line by line. */
async function* asJson(pages: AsyncIterable<ResultView[]>): AsyncGenerator<string> {
  let before = '[\n'
  for await (const page of pages) {
    if (page.length === 0) continue
    yield before + page.map((row) => JSON.stringify(row)).join(',\n')
    before = ',\n'
  }
  yield before === '[\n' ? '[]\n' : '\n]\n'
}
