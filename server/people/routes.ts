import { z } from 'zod'

import { withRoleConsent } from '../approvals/consent.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { changePerson, createPerson, endSessionsOf, movePersonTo } from './service.ts'
import { listSessions, type Session } from './session-store.ts'
import { getPerson, listPersons, type Person } from './store.ts'
import {
  NewPersonBody,
  PersonActionBody,
  PersonChangeBody,
  PersonParams,
  PersonView,
  SessionParams,
  SessionView,
} from './wire.ts'

export const peopleRoutes = [
  route({
    method: 'get',
    path: '/people',
    summary: 'People, newest first, disabled ones too',
    permission: 'operators:read',
    scope: 'fleet',
    query: PageQuery,
    response: Page(PersonView),
    handle: async ({ ctx, query: { cursor, limit } }) => {
      const rows = await listPersons(ctx.db, { before: cursor, limit: limit + 1 })
      return pageOf(rows, limit, personView, ({ id }) => id)
    },
  }),

  route({
    method: 'post',
    path: '/people',
    summary: 'Make a local account; it signs in once it was invited',
    permission: 'operators:manage',
    scope: 'fleet',
    stepUp: true,
    status: 201,
    creates: true,
    refuses: ['approval-needed', 'quota-exhausted'],
    body: NewPersonBody,
    response: PersonView,
    handle: async ({ ctx, body, actor, newId }) => {
      const intent = { subject: `new person ${body.email}`, asked: body, by: actor }
      const { grants = [], ...person } = body
      const made = await withRoleConsent(ctx, intent, (consent) =>
        createPerson(ctx, { ...person, id: newId, grants, by: actor, consent }),
      )
      return personView(made)
    },
  }),

  route({
    method: 'get',
    path: '/people/:personId',
    summary: 'One person',
    permission: 'operators:read',
    scope: 'fleet',
    params: PersonParams,
    response: PersonView,
    handle: async ({ ctx, params: { personId } }) => personView(await getPerson(ctx.db, personId)),
  }),

  route({
    method: 'patch',
    path: '/people/:personId',
    summary: 'Another name or address of a local account',
    permission: 'operators:manage',
    scope: 'fleet',
    stepUp: true,
    params: PersonParams,
    body: PersonChangeBody,
    response: PersonView,
    handle: async ({ ctx, params: { personId }, body, actor }) =>
      personView(await changePerson(ctx, { id: personId, ...body, by: actor })),
  }),

  route({
    method: 'post',
    path: '/people/:personId/actions',
    summary:
      'Disable somebody, at once and with all sessions, keys and certificates; or enable again',
    permission: 'operators:manage',
    scope: 'fleet',
    refuses: ['approval-needed', 'quota-exhausted'],
    stepUp: true,
    params: PersonParams,
    body: PersonActionBody,
    response: PersonView,
    handle: async ({ ctx, params: { personId }, body, actor }) => {
      const intent = { subject: personId, asked: body, by: actor }
      const person = await withRoleConsent(ctx, intent, (consent) =>
        movePersonTo(ctx, { id: personId, ...body, by: actor, consent }),
      )
      return personView(person)
    },
  }),

  route({
    method: 'get',
    path: '/people/:personId/sessions',
    summary: 'Sessions of somebody, newest first, ended ones of the last days too',
    permission: 'operators:read',
    scope: 'fleet',
    params: PersonParams,
    query: PageQuery,
    response: Page(SessionView),
    handle: async ({ ctx, params: { personId }, query: { cursor, limit } }) => {
      await getPerson(ctx.db, personId)
      const rows = await listSessions(ctx.db, personId, { before: cursor, limit: limit + 1 })
      return pageOf(rows, limit, sessionView, ({ id }) => id)
    },
  }),

  route({
    method: 'delete',
    path: '/people/:personId/sessions',
    summary: 'End all sessions of somebody',
    permission: 'operators:manage',
    scope: 'fleet',
    status: 204,
    params: PersonParams,
    response: z.undefined(),
    handle: async ({ ctx, params: { personId }, actor }) => {
      await endSessionsOf(ctx, { personId, by: actor })
      return undefined
    },
  }),

  route({
    method: 'delete',
    path: '/people/:personId/sessions/:sessionId',
    summary: 'End one session of somebody',
    permission: 'operators:manage',
    scope: 'fleet',
    status: 204,
    params: SessionParams,
    response: z.undefined(),
    handle: async ({ ctx, params: { personId, sessionId }, actor }) => {
      await endSessionsOf(ctx, { personId, sessionId, by: actor })
      return undefined
    },
  }),
]

export function personView(person: Person): PersonView {
  return {
    id: person.id,
    principal: `user:${person.id}`,
    name: person.name,
    email: person.email,
    state: person.state,
    provider:
      person.oidc_issuer === null || person.oidc_subject === null
        ? null
        : { issuer: person.oidc_issuer, subject: person.oidc_subject },
    createdBy: person.created_by,
    createdAt: person.created_at.toISOString(),
    disabledAt: person.disabled_at?.toISOString() ?? null,
    lastSignInAt: person.last_sign_in_at?.toISOString() ?? null,
  }
}

export function sessionView(session: Session): SessionView {
  return {
    id: session.id,
    method: session.method,
    createdAt: session.created_at.toISOString(),
    lastSeenAt: session.last_seen_at.toISOString(),
    expiresAt: session.expires_at.toISOString(),
    provenAt: session.proven_at.toISOString(),
    address: session.address,
    userAgent: session.user_agent,
    endedAt: session.ended_at?.toISOString() ?? null,
    endedReason: session.ended_reason,
  }
}
