import type { Request } from 'express'

import { DomainError } from '../errors.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { promisedSha256 } from './digest.ts'
import { uploadArtifact } from './service.ts'
import { type Artifact, getArtifact, listArtifacts } from './store.ts'
import { ArtifactParams, ArtifactView, NewArtifactQuery } from './wire.ts'

export const artifactRoutes = [
  route({
    method: 'put',
    path: '/artifacts',
    summary: 'Upload bytes (application/octet-stream, streamed); the same bytes give the same id',
    permission: 'artifacts:write',
    scope: 'fleet',
    refuses: ['storage-full', 'too-large', 'unsupported-media-type'],
    status: 201,
    upload: 'application/octet-stream',
    query: NewArtifactQuery,
    response: ArtifactView,
    handle: async ({ ctx, query, actor, req }) => {
      // A refused upload is not read to its end, so the connection cannot carry another request.
      req.res?.setHeader('Connection', 'close')
      requireBytes(req, ctx.config.maxArtifactBytes)
      const artifact = await uploadArtifact(ctx, {
        name: query.name,
        source: bodyOf(req),
        promisedSha256: promisedSha256(req.get('repr-digest')),
        actor: actor.id,
        requestId: actor.requestId,
      })
      req.res?.removeHeader('Connection')
      return view(artifact)
    },
  }),

  route({
    method: 'get',
    path: '/artifacts',
    summary: 'Uploaded artifacts, newest first',
    permission: 'artifacts:read',
    scope: 'shared',
    query: PageQuery,
    response: Page(ArtifactView),
    handle: async ({ ctx, reach, query }) =>
      pageOf(
        await listArtifacts(ctx.db, { reach, before: query.cursor, limit: query.limit + 1 }),
        query.limit,
        view,
        (artifact) => artifact.id,
      ),
  }),

  route({
    method: 'get',
    path: '/artifacts/:artifactId',
    summary: 'One artifact: its hash, size and name',
    permission: 'artifacts:read',
    scope: 'shared',
    params: ArtifactParams,
    response: ArtifactView,
    handle: async ({ ctx, reach, params }) =>
      view(await getArtifact(ctx.db, params.artifactId, reach)),
  }),
]

function requireBytes(req: Request, maxBytes: number): void {
  const type = req.get('content-type')?.split(';', 1)[0]?.trim().toLowerCase()
  const encoding = req.get('content-encoding')
  if (type !== 'application/octet-stream' || (encoding ?? 'identity') !== 'identity') {
    throw new DomainError(
      'unsupported-media-type',
      'Send the bytes as they are: Content-Type: application/octet-stream, no Content-Encoding',
    )
  }
  if (Number(req.get('content-length') ?? 0) > maxBytes) {
    throw new DomainError('too-large', `An artifact has at most ${maxBytes} bytes`, { maxBytes })
  }
}

/** The body as it arrives. A caller who goes away in the middle ends it with an error, never with a shorter artifact. */
async function* bodyOf(req: Request): AsyncGenerator<Buffer> {
  try {
    // A request without a text encoding set gives buffers.
    for await (const chunk of req.iterator({ destroyOnReturn: false })) yield chunk as Buffer
  } catch (error) {
    throw new DomainError('invalid-request', 'The upload broke off', {}, { cause: error })
  }
  if (!req.complete) throw new DomainError('invalid-request', 'The upload broke off')
}

function view(artifact: Artifact): ArtifactView {
  return {
    id: artifact.id,
    sha256: artifact.sha256,
    size: artifact.size,
    name: artifact.name,
    createdBy: artifact.created_by,
    createdAt: artifact.created_at.toISOString(),
  }
}
