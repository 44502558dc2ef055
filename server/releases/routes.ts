import { withConsent } from '../approvals/consent.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { actOnRelease } from './act.ts'
import { createRelease } from './create.ts'
import { advisoryOf } from './listed-builds.ts'
import { getRelease, listReleases, type Release } from './store.ts'
import {
  NewReleaseBody,
  ReleaseActionBody,
  ReleaseParams,
  ReleasesQuery,
  ReleaseView,
} from './wire.ts'

export const releaseRoutes = [
  route({
    method: 'post',
    path: '/releases',
    summary: 'Draft a release of one component of a model',
    permission: 'releases:write',
    scope: 'fleet',
    refuses: ['not-found', 'not-ready'],
    status: 201,
    creates: true,
    body: NewReleaseBody,
    response: ReleaseView,
    handle: async ({ ctx, body, actor, newId }) =>
      view(
        await createRelease(ctx, {
          ...body,
          id: newId,
          actor: actor.id,
          requestId: actor.requestId,
        }),
      ),
  }),

  route({
    method: 'get',
    path: '/releases',
    summary: 'Releases, newest first',
    permission: 'releases:read',
    scope: 'shared',
    query: ReleasesQuery.extend(PageQuery.shape),
    response: Page(ReleaseView),
    handle: async ({ ctx, query: { model, cursor, limit } }) =>
      pageOf(
        await listReleases(ctx.db, { model, before: cursor, limit: limit + 1 }),
        limit,
        view,
        (release) => release.id,
      ),
  }),

  route({
    method: 'get',
    path: '/releases/:releaseId',
    summary: 'One release',
    permission: 'releases:read',
    scope: 'shared',
    params: ReleaseParams,
    response: ReleaseView,
    handle: async ({ ctx, params }) => view(await getRelease(ctx.db, params.releaseId)),
  }),

  route({
    method: 'post',
    path: '/releases/:releaseId/actions',
    summary: 'Submit a release for signing, publish the signed one, or withdraw it',
    permission: {
      action: {
        submit: 'releases:write',
        publish: 'releases:publish',
        withdraw: 'releases:publish',
      },
    },
    scope: 'fleet',
    stepUp: ['publish'],
    refuses: ['approval-needed', 'illegal-transition', 'not-ready', 'quota-exhausted'],
    params: ReleaseParams,
    body: ReleaseActionBody,
    response: ReleaseView,
    handle: async ({ ctx, params: { releaseId }, body: { action }, actor }) => {
      const intent = {
        kind: 'publication',
        subject: releaseId,
        asked: { action },
        by: actor,
      } as const
      const by = { actor: actor.id, requestId: actor.requestId }
      const release = await withConsent(ctx, intent, (consent) =>
        actOnRelease(ctx, { releaseId, action, ...by, consent }),
      )
      return view(release)
    },
  }),
]

function view(release: Release): ReleaseView {
  return {
    id: release.id,
    model: release.model,
    component: release.component,
    version: release.version,
    build: release.build,
    svn: release.svn,
    class: release.class,
    artifactId: release.artifact_id,
    hardwareIds: release.hardware_ids,
    minPrevious: release.min_previous,
    // Written by create.ts from the wire schema.
    requires: release.requires as Record<string, number>,
    fixes: release.fixes,
    notes: release.notes,
    advisory: advisoryOf(release) ?? null,
    mixedReason: release.mixed_reason as ReleaseView['mixedReason'],
    state: release.state,
    metadataVersion: release.metadata_version,
    createdBy: release.created_by,
    createdAt: release.created_at.toISOString(),
    publishedAt: release.published_at?.toISOString() ?? null,
  }
}
