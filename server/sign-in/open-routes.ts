import type { Response } from 'express'

import type { Context } from '../context.ts'
import { openRoute } from '../http/open-route.ts'
import { BeginLimit } from '../operators/failure-limit.ts'
import { sessionCookie, sessionSecretIn } from '../people/session-cookie.ts'
import { hasPasskeys, originOf } from './passkeys.ts'
import { cameFrom, type SignedIn } from './session.ts'
import { acceptInvitation, beginPasskey, beginTotp, finishSetup, lookedAt } from './setup.ts'
import { offerPasskey, showFactor, showPassword } from './sign-in.ts'
import {
  AcceptBody,
  FactorBody,
  InvitationBody,
  InvitationView,
  NoBody,
  PasskeyOptionsView,
  PasswordBody,
  SetupBody,
  SetUpView,
  SignedInView,
  TicketBody,
  TicketView,
  TotpSetupView,
  WaysView,
} from './wire.ts'

const timed = <T extends { expiresAt: Date }>({ expiresAt, ...rest }: T) => ({
  ...rest,
  expiresAt: expiresAt.toISOString(),
})

const beginLimits = new WeakMap<Context, BeginLimit>()

function beginLimitOf(ctx: Context): BeginLimit {
  const limit = beginLimits.get(ctx) ?? new BeginLimit()
  beginLimits.set(ctx, limit)
  return limit
}

function welcome(res: Response, { account, sessionId, secret }: SignedIn, codes: number | null) {
  res.append('Set-Cookie', sessionCookie(secret))
  return { personId: account.id, name: account.name, sessionId, recoveryCodesLeft: codes }
}

/** Signing in to a local account. Nobody has shown anything yet: each answer opens the next step and nothing else. */
export const signInRoutes = [
  openRoute({
    path: '/sign-in/ways',
    summary: 'How people sign in here',
    body: NoBody,
    response: WaysView,
    handle: async ({ ctx: { config }, req }) => ({
      passkey: hasPasskeys(config),
      hasCookie: sessionSecretIn(req.get('cookie')) !== undefined,
      oidcUrl: config.oidc === undefined ? null : '/sign-in/oidc',
    }),
  }),

  openRoute({
    path: '/sign-in/password',
    summary: 'First step: address and password; the answer is a ticket for the second factor',
    body: PasswordBody,
    response: TicketView,
    handle: async ({ ctx, body, req }) => timed(await showPassword(ctx, body, cameFrom(req))),
  }),

  openRoute({
    path: '/sign-in/passkey',
    summary: 'What a browser needs to ask for any passkey of this server, without a password',
    body: NoBody,
    response: PasskeyOptionsView,
    handle: async ({ ctx, req }) => {
      beginLimitOf(ctx).begin(cameFrom(req).address, ctx.clock.now())
      return timed(await offerPasskey(ctx, undefined))
    },
  }),

  openRoute({
    path: '/sign-in/second-factor/passkey',
    summary: 'What a browser needs to ask for a passkey as the second factor',
    body: TicketBody,
    response: PasskeyOptionsView,
    handle: async ({ ctx, body }) => timed(await offerPasskey(ctx, body.ticket)),
  }),

  openRoute({
    path: '/sign-in/second-factor',
    summary: 'Last step: a code, a passkey or a recovery code; the answer sets the cookie',
    body: FactorBody,
    response: SignedInView,
    handle: async ({ ctx, body, req, res }) => {
      const { ticket, ...shown } = body
      const given = { ticket, shown, origin: () => originOf(req, ctx.config) }
      const signedIn = await showFactor(ctx, given, cameFrom(req))
      const { hash } = signedIn.account
      return welcome(res, signedIn, hash === null ? null : signedIn.factors.recoveryCodesLeft)
    },
  }),

  openRoute({
    path: '/sign-in/invitation',
    summary: 'Whom an invitation is for',
    body: InvitationBody,
    response: InvitationView,
    handle: async ({ ctx, body, req }) => {
      const { invitation, account } = await lookedAt(ctx, body.token, cameFrom(req))
      const { name, email } = account
      return { name, email, expiresAt: invitation.expires_at.toISOString() }
    },
  }),

  openRoute({
    path: '/sign-in/invitation/accept',
    summary: 'Choose a password, or none and a passkey; kept once the first factor was shown',
    body: AcceptBody,
    response: TicketView,
    handle: async ({ ctx, body: { token, password }, req }) =>
      timed(await acceptInvitation(ctx, { token, password }, cameFrom(req))),
  }),

  openRoute({
    path: '/sign-in/setup/totp',
    summary: 'The secret for an authenticator app, as the first second factor',
    body: TicketBody,
    response: TotpSetupView,
    handle: async ({ ctx, body }) => await beginTotp(ctx, body.ticket),
  }),

  openRoute({
    path: '/sign-in/setup/passkey',
    summary: 'What a browser needs to make a passkey, as the first factor',
    body: TicketBody,
    response: PasskeyOptionsView,
    handle: async ({ ctx, body }) => timed(await beginPasskey(ctx, body.ticket)),
  }),

  openRoute({
    path: '/sign-in/setup',
    summary: 'Show the first factor: takes the account, sets the cookie, shows recovery codes once',
    body: SetupBody,
    response: SetUpView,
    handle: async ({ ctx, body, req, res }) => {
      const origin = () => originOf(req, ctx.config)
      const done = await finishSetup(ctx, { body, origin }, cameFrom(req))
      const { recoveryCodes } = done
      return { ...welcome(res, done, recoveryCodes.length || null), recoveryCodes }
    },
  }),
]
