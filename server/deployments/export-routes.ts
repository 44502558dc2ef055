import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

import { z } from 'zod'

import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { streamRoute } from '../http/stream-route.ts'
import { standingActors } from '../operators/standing.ts'
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
    params: RolloutParams,
    query: ResultQuery,
    answers: { 'application/json': z.array(ResultView), 'text/csv': z.string() },
    shared: () => undefined,
    handle: async ({ ctx, req, res, actor, params: { rolloutId }, query: { format } }) => {
      if (!(await rolloutExists(ctx.db, rolloutId))) {
        throw new DomainError('not-found', 'No such rollout', { rolloutId })
      }
      const pages = whileAllowed(ctx, actor.id, resultsOf(ctx.db, rolloutId))
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

/** A key that was revoked meanwhile is handed no further page, however slowly its holder reads. */
export async function* whileAllowed(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  actor: string,
  pages: AsyncIterable<ResultView[]>,
): AsyncGenerator<ResultView[]> {
  let isFirst = true
  for await (const page of pages) {
    if (!isFirst && !(await standingActors(db, [actor], clock.now())).has(actor)) {
      throw new DomainError('not-allowed', 'The key was revoked or is over: ask with another one')
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
