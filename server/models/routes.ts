import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { createModel, effectivePolicy, setModelPolicy } from './service.ts'
import { getModel, listModels, type Model } from './store.ts'
import { ModelParams, ModelPolicyBody, ModelView, NewModelBody } from './wire.ts'

export const modelRoutes = [
  route({
    method: 'post',
    path: '/models',
    summary: 'Make a device model with the hardware ids its firmware may be for',
    allow: ['admin', 'operator'],
    status: 201,
    creates: true,
    body: NewModelBody,
    response: ModelView,
    handle: async ({ ctx, body, actor, newId }) =>
      view(
        await createModel(ctx, {
          ...body,
          id: newId,
          actor: actor.id,
          requestId: actor.requestId,
        }),
      ),
  }),

  route({
    method: 'get',
    path: '/models',
    summary: 'Device models, newest first',
    allow: ['admin', 'operator', 'viewer'],
    query: PageQuery,
    response: Page(ModelView),
    handle: async ({ ctx, query }) =>
      pageOf(
        await listModels(ctx.db, { before: query.cursor, limit: query.limit + 1 }),
        query.limit,
        view,
        (model) => model.id,
      ),
  }),

  route({
    method: 'get',
    path: '/models/:model',
    summary: 'One device model, by id or name',
    allow: ['admin', 'operator', 'viewer'],
    params: ModelParams,
    response: ModelView,
    handle: async ({ ctx, params }) => view(await getModel(ctx.db, params.model)),
  }),

  route({
    method: 'put',
    path: '/models/:model/policy',
    summary: "How owners of a model's devices choose about updates: all of the rules at once",
    allow: ['admin', 'operator'],
    params: ModelParams,
    body: ModelPolicyBody,
    response: ModelView,
    handle: async ({ ctx, params, body, actor }) =>
      view(
        await setModelPolicy(ctx, {
          model: params.model,
          policy: body,
          actor: actor.id,
          requestId: actor.requestId,
        }),
      ),
  }),
]

function view(model: Model): ModelView {
  return {
    id: model.id,
    name: model.name,
    hardwareIds: model.hardware_ids,
    policy: effectivePolicy(model.policy),
    createdAt: model.created_at.toISOString(),
  }
}
