import { generateSync } from 'otplib'

import type { Reply, TestApi } from './api.ts'

export const password = 'tidal marmot envelope'

export interface Member {
  id: string
  email: string
  password: string
  /** Base32, of the authenticator app. */
  secret: string
  recoveryCodes: string[]
  /** The value for the header `Cookie`. */
  cookie: string
}

/** The code that an app shows now; by the server's clock. */
export function codeOf(api: TestApi, secret: string, aheadSeconds = 0): string {
  const epoch = Math.floor(api.ctx.clock.now().getTime() / 1000) + aheadSeconds
  return generateSync({ secret, epoch })
}

/** What a browser sends back of the cookies of an answer. */
export function cookieOf({ headers }: Reply): string {
  return headers
    .getSetCookie()
    .map((cookie) => cookie.split(';')[0] ?? '')
    .join('; ')
}

let made = 0

export async function createPerson(
  api: TestApi,
  grants: object[] = [{ role: 'admin', groupIds: [] }],
): Promise<{ id: string; email: string }> {
  made += 1
  const email = `Person.${made}@example.com`
  const { body, status, text } = await api.call('POST', '/people', {
    name: `Person ${made}`,
    email,
    grants,
  })
  if (status !== 201) throw new Error(text)
  return { id: String(body['id']), email }
}

export async function inviteToken(api: TestApi, personId: string): Promise<string> {
  const { body, status, text } = await api.call('POST', `/people/${personId}/invitations`, {})
  if (status !== 201) throw new Error(text)
  return String(body['token'])
}

/** Posts without any credentials. */
export async function post(api: TestApi, path: string, body: object): Promise<Reply> {
  return await api.call('POST', path, body, { key: '' })
}

/** Somebody who took an invitation with a password and an authenticator app, and is signed in. */
export async function createMember(api: TestApi, grants?: object[]): Promise<Member> {
  const person = await createPerson(api, grants)
  const token = await inviteToken(api, person.id)
  const accepted = await post(api, '/sign-in/invitation/accept', { token, password })
  const ticket = String(accepted.body['ticket'])
  const begun = await post(api, '/sign-in/setup/totp', { ticket })
  const secret = String(begun.body['secret'])
  const code = codeOf(api, secret)
  const done = await post(api, '/sign-in/setup', { ticket, kind: 'totp', code })
  if (done.status !== 200) throw new Error(done.text)
  api.ctx.clock.advance({ seconds: 30 })
  return {
    ...person,
    password,
    secret,
    recoveryCodes: done.body['recoveryCodes'] as string[],
    cookie: cookieOf(done),
  }
}

export async function showPassword(api: TestApi, member: Pick<Member, 'email' | 'password'>) {
  const reply = await post(api, '/sign-in/password', {
    email: member.email,
    password: member.password,
  })
  return { reply, ticket: String(reply.body['ticket']) }
}

/** Password and code; the clock goes on, so that the next code is another one. */
export async function signIn(api: TestApi, member: Member): Promise<Reply> {
  const { ticket } = await showPassword(api, member)
  const code = codeOf(api, member.secret)
  const reply = await post(api, '/sign-in/second-factor', { ticket, kind: 'totp', code })
  api.ctx.clock.advance({ seconds: 30 })
  return reply
}
