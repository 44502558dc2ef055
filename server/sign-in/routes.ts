import { z } from 'zod'

import { withRoleConsent } from '../approvals/consent.ts'
import { route } from '../http/route.ts'
import { stepUpMs } from '../http/step-up.ts'
import { sessionCookie } from '../people/session-cookie.ts'
import { type AccountState, readAccount, unlock } from './account.ts'
import { emailOf, getAccount, type LocalAccount, type Passkey } from './credential-store.ts'
import { type Factors, factorsOf } from './factors.ts'
import { invitationUrl, invite } from './invitations.ts'
import { originOf } from './passkeys.ts'
import {
  AccountView,
  type CredentialsView,
  NewInvitationView,
  PasskeyParams,
  type PasskeyView,
  PasswordChangeBody,
  PersonParams,
  RecoveryCodesView,
  SelfView,
  TotpOfferView,
} from './self-wire.ts'
import {
  addOwnFactor,
  beginOwnPasskey,
  beginOwnTotp,
  changePassword,
  removeOwnFactor,
  renewRecoveryCodes,
} from './self.ts'
import { cameFrom, signed } from './session.ts'
import { stepUp, stepUpOptions } from './step-up.ts'
import {
  NoBody,
  PasskeyOptionsView,
  SetupBody,
  StepUpBody,
  StepUpOptionsView,
  SteppedUpView,
} from './wire.ts'

/** What somebody who is signed in does with their own account. */
export const selfRoutes = [
  route({
    method: 'get',
    path: '/self',
    summary: 'Who is signed in, and with what',
    permission: 'self:read',
    scope: 'shared',
    refuses: ['not-ready'],
    response: SelfView,
    handle: async ({ ctx, actor }) => {
      const { sessionId, personId } = signed(actor)
      const account = await getAccount(ctx.db, personId)
      const provenAt = actor.session?.provenAt.getTime() ?? 0
      const email = account?.email ?? (await emailOf(ctx.db, personId))
      return {
        person: { id: personId, name: actor.name, email },
        session: { id: sessionId, stepUpUntil: new Date(provenAt + stepUpMs).toISOString() },
        credentials: account ? credentialsView(account, await factorsOf(ctx.db, personId)) : null,
      }
    },
  }),

  route({
    method: 'post',
    path: '/self/password',
    summary: 'Another password; all other sessions end',
    permission: 'self:write',
    scope: 'shared',
    refuses: ['not-ready'],
    stepUp: true,
    status: 204,
    body: PasswordChangeBody,
    response: z.undefined(),
    handle: async ({ ctx, actor, body, req }) => {
      const { current, password } = body
      await changePassword(ctx, { ...signed(actor), current, password }, cameFrom(req))
      return undefined
    },
  }),

  route({
    method: 'post',
    path: '/self/totp',
    summary: 'The secret for an authenticator app; kept once a code of it was shown',
    permission: 'self:write',
    scope: 'shared',
    refuses: ['not-ready'],
    stepUp: true,
    body: NoBody,
    response: TotpOfferView,
    handle: async ({ ctx, actor }) => {
      const { expiresAt, ...offer } = await beginOwnTotp(ctx, signed(actor))
      return { ...offer, expiresAt: expiresAt.toISOString() }
    },
  }),

  route({
    method: 'delete',
    path: '/self/totp',
    summary: 'Take the authenticator app away',
    permission: 'self:write',
    scope: 'shared',
    refuses: ['not-ready'],
    stepUp: true,
    status: 204,
    response: z.undefined(),
    handle: async ({ ctx, actor, req }) => {
      const { personId } = signed(actor)
      await removeOwnFactor(ctx, { personId, factor: 'totp' }, cameFrom(req))
      return undefined
    },
  }),

  route({
    method: 'post',
    path: '/self/passkeys',
    summary: 'What a browser needs to make another passkey',
    permission: 'self:write',
    scope: 'shared',
    refuses: ['not-ready'],
    stepUp: true,
    body: NoBody,
    response: PasskeyOptionsView,
    handle: async ({ ctx, actor }) => {
      const { expiresAt, ...offer } = await beginOwnPasskey(ctx, signed(actor))
      return { ...offer, expiresAt: expiresAt.toISOString() }
    },
  }),

  route({
    method: 'delete',
    path: '/self/passkeys/:passkeyId',
    summary: 'Take a passkey away',
    permission: 'self:write',
    scope: 'shared',
    refuses: ['not-ready'],
    stepUp: true,
    status: 204,
    params: PasskeyParams,
    response: z.undefined(),
    handle: async ({ ctx, actor, params, req }) => {
      const { personId } = signed(actor)
      await removeOwnFactor(ctx, { personId, factor: params }, cameFrom(req))
      return undefined
    },
  }),

  route({
    method: 'post',
    path: '/self/factors',
    summary: 'Show the new app or passkey: it is added',
    permission: 'self:write',
    scope: 'shared',
    refuses: ['not-ready'],
    stepUp: true,
    status: 204,
    body: SetupBody,
    response: z.undefined(),
    handle: async ({ ctx, actor, body, req }) => {
      const origin = () => originOf(req, ctx.config)
      await addOwnFactor(ctx, { ...signed(actor), body, origin }, cameFrom(req))
      return undefined
    },
  }),

  route({
    method: 'post',
    path: '/self/recovery-codes',
    summary: 'Ten new recovery codes, shown once; those before are void',
    permission: 'self:write',
    scope: 'shared',
    refuses: ['not-ready'],
    stepUp: true,
    body: NoBody,
    response: RecoveryCodesView,
    handle: async ({ ctx, actor, req }) => ({
      recoveryCodes: await renewRecoveryCodes(ctx, signed(actor).personId, cameFrom(req)),
    }),
  }),

  route({
    method: 'post',
    path: '/sign-in/step-up/options',
    summary: 'What the person of this session can show as a second factor',
    permission: 'self:write',
    scope: 'shared',
    refuses: ['not-ready'],
    body: NoBody,
    response: StepUpOptionsView,
    handle: async ({ ctx, actor }) => {
      const { kinds, passkey } = await stepUpOptions(ctx, signed(actor))
      return {
        kinds: kinds.length > 0 ? kinds : ['oidc' as const],
        passkey: passkey ? { ...passkey, expiresAt: passkey.expiresAt.toISOString() } : null,
        oidcUrl: kinds.length > 0 ? null : '/sign-in/oidc?stepUp=1',
      }
    },
  }),

  route({
    method: 'post',
    path: '/sign-in/step-up',
    summary: 'Show a second factor again; the session goes on under another cookie',
    permission: 'self:write',
    scope: 'shared',
    refuses: ['not-ready'],
    body: StepUpBody,
    response: SteppedUpView,
    handle: async ({ ctx, actor, body, req }) => {
      const ticket = body.kind === 'passkey' ? body.ticket : undefined
      const origin = () => originOf(req, ctx.config)
      const given = { ...signed(actor), shown: body, ticket, origin }
      const { secret, stepUpUntil } = await stepUp(ctx, given, cameFrom(req))
      req.res?.append('Set-Cookie', sessionCookie(secret))
      return { stepUpUntil: stepUpUntil.toISOString() }
    },
  }),
]

/** What an administrator does with the local account of somebody. */
export const accountRoutes = [
  route({
    method: 'post',
    path: '/people/:personId/invitations',
    summary: 'A link to take a local account, once, within 72 hours; resets an account in use',
    permission: 'operators:manage',
    scope: 'fleet',
    refuses: ['approval-needed', 'quota-exhausted'],
    stepUp: true,
    status: 201,
    creates: true,
    params: PersonParams,
    body: NoBody,
    response: NewInvitationView,
    handle: async ({ ctx, params: { personId }, actor, newId }) => {
      const intent = { subject: personId, asked: { reset: 'account' }, by: actor }
      const { invitation, token } = await withRoleConsent(ctx, intent, (consent) =>
        invite(ctx, { id: newId, personId, by: actor, consent }),
      )
      return {
        id: invitation.id,
        personId,
        token,
        url: invitationUrl(ctx.config, token),
        expiresAt: invitation.expires_at.toISOString(),
      }
    },
  }),

  route({
    method: 'get',
    path: '/people/:personId/account',
    summary: 'What somebody signs in with, and whether failed attempts keep them out',
    permission: 'operators:read',
    scope: 'fleet',
    params: PersonParams,
    response: AccountView,
    handle: async ({ ctx, params: { personId } }) => accountView(await readAccount(ctx, personId)),
  }),

  route({
    method: 'post',
    path: '/people/:personId/unlock',
    summary: 'Forget the failed attempts on an account',
    permission: 'operators:manage',
    scope: 'fleet',
    params: PersonParams,
    body: NoBody,
    response: AccountView,
    handle: async ({ ctx, params: { personId }, actor }) =>
      accountView(await unlock(ctx, { personId, by: actor })),
  }),
]

function accountView(state: AccountState): AccountView {
  const { account, factors, standing, invitationExpiresAt } = state
  return {
    ...credentialsView(account, factors),
    personId: account.id,
    failures: standing.failures,
    blockedUntil: standing.blockedUntil?.toISOString() ?? null,
    invitationExpiresAt: invitationExpiresAt?.toISOString() ?? null,
  }
}

function credentialsView({ hash }: LocalAccount, factors: Factors): CredentialsView {
  return {
    hasPassword: hash !== null,
    totpSince: factors.totpSince?.toISOString() ?? null,
    passkeys: factors.passkeys.map(passkeyView),
    recoveryCodesLeft: factors.recoveryCodesLeft,
  }
}

function passkeyView(passkey: Passkey): PasskeyView {
  return {
    id: passkey.id,
    name: passkey.name,
    isSynced: passkey.is_synced,
    isBackedUp: passkey.is_backed_up,
    createdAt: passkey.created_at.toISOString(),
    lastUsedAt: passkey.last_used_at?.toISOString() ?? null,
  }
}
