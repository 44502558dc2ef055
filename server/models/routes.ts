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
    permission: 'models:write',
    scope: 'fleet',
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
    permission: 'models:read',
    scope: 'shared',
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
    permission: 'models:read',
    scope: 'shared',
    versioned: 'version',
    params: ModelParams,
    response: ModelView,
    handle: async ({ ctx, params }) => view(await getModel(ctx.db, params.model)),
  }),

  route({
    method: 'put',
    path: '/models/:model/policy',
    summary: "How owners of a model's devices choose about updates: all of the rules at once",
    permission: 'models:write',
    scope: 'fleet',
    versioned: 'version',
    params: ModelParams,
    body: ModelPolicyBody,
    response: ModelView,
    handle: async ({ ctx, params, body, actor, ifMatch }) =>
      view(
        await setModelPolicy(ctx, {
          model: params.model,
          ifMatch,
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
    version: model.version,
    createdAt: model.created_at.toISOString(),
  }
}
