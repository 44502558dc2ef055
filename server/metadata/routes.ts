import { keyId } from '../../pki/tuf/keys.ts'
import { toInstant } from '../../pki/tuf/time.ts'
import type { Db } from '../db/client.ts'
import { route } from '../http/route.ts'
import { exampleReleaseKeys, exampleRoots } from './examples.ts'
import { onlineKeys } from './online-keys.ts'
import { type DraftFile, listRoles, readDraftFile, type RoleOverview } from './overview.ts'
import { changeReleaseKeys, readReleaseKeys } from './release-keys.ts'
import { draftRenewal } from './renew.ts'
import { offlineRole } from './roles.ts'
import { importRoots } from './roots.ts'
import { rotateOnlineKeys } from './rotate.ts'
import { sendSignatures } from './signatures.ts'
import {
  DraftView,
  OnlineKeysView,
  OnlineRotationBody,
  ReleaseKeysBody,
  ReleaseKeysView,
  RenewalBody,
  RoleParams,
  RolesView,
  type RoleView,
  RootsBody,
  RootsView,
  SignaturesBody,
  SignedView,
  VersionParams,
} from './wire.ts'

export const metadataRoutes = [
  route({
    method: 'get',
    path: '/metadata',
    summary:
      'Roles of both repositories: what is published, until when, and what waits for signatures',
    permission: 'metadata:read',
    scope: 'shared',
    refuses: ['not-ready'],
    response: RolesView,
    handle: async ({ ctx }) => ({ items: (await listRoles(ctx)).map(roleView), nextCursor: null }),
  }),

  route({
    method: 'get',
    path: '/metadata/online-keys',
    summary:
      'Public keys of the roles that the server signs; "fleetseal sign init" writes them into the roots',
    permission: 'metadata:read',
    scope: 'shared',
    refuses: ['not-ready'],
    response: OnlineKeysView,
    handle: async ({ ctx }) => {
      const { image, director } = await onlineKeys(ctx)
      return {
        image: { snapshot: wireKey(image.snapshot), timestamp: wireKey(image.timestamp) },
        director: {
          targets: wireKey(director.targets),
          snapshot: wireKey(director.snapshot),
          timestamp: wireKey(director.timestamp),
        },
      }
    },
  }),

  route({
    method: 'post',
    path: '/metadata/roots',
    summary: 'Begin both repositories with the public.json of "fleetseal sign init"; once',
    permission: 'metadata:manage',
    scope: 'fleet',
    stepUp: true,
    refuses: ['not-ready', 'signature-invalid'],
    status: 201,
    body: RootsBody,
    example: exampleRoots,
    response: RootsView,
    handle: async ({ ctx, body, actor }) =>
      await importRoots(ctx, { ...body, actor: actor.id, requestId: actor.requestId }),
  }),

  route({
    method: 'post',
    path: '/metadata/online-keys/rotation',
    summary:
      'Make the next online keys of a repository and draft the root that names them; used once that is published',
    permission: 'metadata:manage',
    scope: 'fleet',
    refuses: ['not-ready'],
    body: OnlineRotationBody,
    response: DraftView,
    handle: async ({ ctx, body, actor }) => {
      const by = { actor: actor.id, requestId: actor.requestId }
      return draftView(await readDraftFile(ctx.db, await rotateOnlineKeys(ctx, { ...body, ...by })))
    },
  }),

  route({
    method: 'get',
    path: '/metadata/release-keys',
    summary: 'Public keys that may sign releases, of which two have to',
    permission: 'metadata:read',
    scope: 'shared',
    response: ReleaseKeysView,
    handle: async ({ ctx }) => await releaseKeysView(ctx.db),
  }),

  route({
    method: 'put',
    path: '/metadata/release-keys',
    summary:
      'Name all keys that may sign releases, and draft the targets that delegates every model to them',
    permission: 'metadata:manage',
    scope: 'fleet',
    refuses: ['not-ready', 'signature-invalid'],
    body: ReleaseKeysBody,
    example: exampleReleaseKeys,
    response: ReleaseKeysView,
    handle: async ({ ctx, body, actor }) => {
      const by = { actor: actor.id, requestId: actor.requestId }
      await changeReleaseKeys(ctx, { ...body, ...by })
      return await releaseKeysView(ctx.db)
    },
  }),

  route({
    method: 'get',
    path: '/metadata/:role/draft',
    summary: 'The next version of a role, with all that the offline signer needs to judge it',
    permission: 'metadata:read',
    scope: 'shared',
    refuses: ['not-ready'],
    params: RoleParams,
    response: DraftView,
    handle: async ({ ctx, params }) =>
      draftView(await readDraftFile(ctx.db, offlineRole(params.role))),
  }),

  route({
    method: 'post',
    path: '/metadata/:role/draft',
    summary:
      'Draft the next version with the same content, to be signed before the published one expires',
    permission: 'metadata:sign',
    scope: 'fleet',
    refuses: ['not-ready', 'quota-exhausted'],
    status: 201,
    params: RoleParams,
    body: RenewalBody,
    response: DraftView,
    handle: async ({ ctx, params, body, actor }) => {
      const ref = offlineRole(params.role)
      await draftRenewal(ctx, {
        ref,
        signed: ref.role === 'root' ? body.signed : undefined,
        actor: actor.id,
        requestId: actor.requestId,
      })
      return draftView(await readDraftFile(ctx.db, ref))
    },
  }),

  route({
    method: 'post',
    path: '/metadata/:role/:version/signatures',
    summary:
      'Send signatures of the offline signer; at the threshold roots, targets and withdrawals are published',
    permission: 'metadata:sign',
    scope: 'fleet',
    refuses: ['not-ready', 'signature-invalid'],
    params: VersionParams,
    body: SignaturesBody,
    response: SignedView,
    handle: async ({ ctx, params, body, actor }) =>
      await sendSignatures(ctx, {
        ref: offlineRole(params.role),
        version: params.version,
        ...body,
        actor: actor.id,
        requestId: actor.requestId,
      }),
  }),
]

async function releaseKeysView(db: Db) {
  const keys = await readReleaseKeys(db)
  return { keys: keys.map(({ name, key }) => ({ name, keyid: keyId(key), key })) }
}

function wireKey({ tufKey }: { tufKey: { keyval: { public: string } } }) {
  // Online keys are Ed25519 (online-keys.ts).
  return { keytype: 'ed25519', scheme: 'ed25519', keyval: tufKey.keyval } as const
}

function roleView({ role, repository, published, draft }: RoleOverview): RoleView {
  return {
    role,
    repository,
    published: published
      ? { version: published.version, expiresAt: published.expiresAt.toISOString() }
      : null,
    draft: draft
      ? {
          ...draft,
          expiresAt: draft.expiresAt.toISOString(),
          threshold: draft.threshold ?? null,
        }
      : null,
  }
}

function draftView({ draft, previous, rootChain, targets }: DraftFile): DraftView {
  return {
    repository: draft.repository,
    role: draft.role,
    version: draft.version,
    expires: toInstant(draft.expires_at),
    signed: draft.signed,
    signedSha256: draft.signed_sha256,
    ...(previous === undefined ? {} : { previous }),
    rootChain,
    ...(targets === undefined ? {} : { targets }),
  }
}
