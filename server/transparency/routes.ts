import { DomainError } from '../errors.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { headAt, logHead, proofsFor } from './service.ts'
import { listEntries } from './store.ts'
import {
  ConsistencyQuery,
  ConsistencyView,
  InclusionParams,
  InclusionView,
  LogEntryView,
  LogHeadView,
} from './wire.ts'

export const transparencyRoutes = [
  route({
    method: 'get',
    path: '/log',
    summary: 'The head of the transparency log: how many entries, and the root over them',
    permission: 'transparency:read',
    scope: 'shared',
    response: LogHeadView,
    handle: async ({ ctx }) => await logHead(ctx.db),
  }),

  route({
    method: 'get',
    path: '/log/entries',
    summary: 'What was ever published, oldest first',
    permission: 'transparency:read',
    scope: 'shared',
    query: PageQuery,
    response: Page(LogEntryView),
    handle: async ({ ctx, query: { cursor, limit } }) => {
      const from = cursor === undefined ? 0 : Number(cursor) + 1
      const rows = await listEntries(ctx.db, from, limit + 1)
      return pageOf(
        rows,
        limit,
        ({ no, data, leaf, at }) => ({
          no,
          data,
          leaf: leaf.toString('hex'),
          at: at.toISOString(),
        }),
        ({ no }) => String(no),
      )
    },
  }),

  route({
    method: 'get',
    path: '/log/consistency',
    summary: 'Proof that the log still begins with what it held when it had so many entries',
    permission: 'transparency:read',
    scope: 'shared',
    refuses: ['not-found'],
    query: ConsistencyQuery,
    response: ConsistencyView,
    handle: async ({ ctx, query }) => {
      const from = await headAt(ctx.db, query.from)
      if (!from) {
        throw new DomainError('not-found', `The log has not had ${query.from} entries yet`)
      }
      const question = { leaves: [], sizes: [query.from] }
      const { head, proofs } = await proofsFor(ctx.db, [question])
      return { from, to: head, proof: proofs.get(question)?.consistent[query.from] ?? [] }
    },
  }),

  route({
    method: 'get',
    path: '/log/inclusion/:leaf',
    summary: 'Proof that an entry, by its leaf hash, is in the log',
    permission: 'transparency:read',
    scope: 'shared',
    params: InclusionParams,
    response: InclusionView,
    handle: async ({ ctx, params: { leaf } }) => {
      const question = { leaves: [leaf], sizes: [] }
      const { head, proofs } = await proofsFor(ctx.db, [question])
      const found = proofs.get(question)?.included[leaf]
      if (!found) throw new DomainError('not-found', 'No entry has this leaf hash')
      return { head, no: found.no, proof: found.path }
    },
  }),
]
