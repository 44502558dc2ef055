import { readFile } from 'node:fs/promises'

import {
  CredentialView,
  NewClaimView,
  ProfileView,
  RequestView,
} from '../../server/enrollment/wire.ts'
import { collect } from '../collect.ts'
import type { Command, CommandInput } from '../command.ts'
import { usageError } from '../failure.ts'
import { profileId } from '../lookup.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'

const states = ['pending', 'approved', 'denied', 'issued'] as const

const requestColumns: Column<RequestView>[] = [
  { head: 'serial', cell: (request) => request.serialNumber },
  { head: 'state', cell: (request) => request.state },
  { head: 'key', cell: (request) => `${request.keyAlgorithm} ${request.keySha256.slice(0, 16)}` },
  { head: 'asked', cell: (request) => request.lastSeenAt },
  { head: 'id', cell: (request) => request.id },
]

const credentialColumns: Column<CredentialView>[] = [
  { head: 'kind', cell: (credential) => credential.kind },
  { head: 'serial', cell: (credential) => credential.serialNumber },
  { head: 'used', cell: (credential) => `${credential.uses} of ${credential.maxUses ?? 'any'}` },
  { head: 'until', cell: (credential) => credential.expiresAt },
  { head: 'fingerprint', cell: (credential) => credential.fingerprint },
  { head: 'id', cell: (credential) => credential.id },
]

function profileAction(action: 'pause' | 'resume', summary: string): Command {
  return {
    verb: action,
    args: 'PROFILE',
    summary,
    options: { reason: { type: 'string', value: 'TEXT', about: 'for the audit log' } },
    run: async ({ client, args: [profile = ''], values, out }) => {
      const api = await client()
      const path = `/enrollment-profiles/${await profileId(api, profile)}/actions` as const
      const body = { action, reason: values.text('reason') }
      out.answer(await api.act(ProfileView, path, body), (one) =>
        one.pausedAt === null ? `${one.name} is open` : `${one.name} is paused`,
      )
    },
  }
}

/** Certificates as the way in, and what waits for a person. */
export const decisionCommands: readonly Command[] = [
  profileAction('pause', 'Let nobody enroll until the profile is resumed; certificates stay'),
  profileAction('resume', 'Let devices enroll again'),
  {
    verb: 'claim',
    args: 'PROFILE FILE',
    summary: 'Register a claim certificate, or get one for a request (PEM), for so many devices',
    options: {
      'max-uses': { type: 'string', value: 'N', about: 'for at most so many devices (needed)' },
      expires: { type: 'string', value: 'WHEN', about: 'an instant or span (the certificate)' },
      days: { type: 'string', value: 'N', about: 'how long one for a request is valid (30)' },
    },
    run: async ({ client, args: [profile = '', file = ''], values, out, world }) => {
      values.needed('max-uses')
      const text = await readText(file)
      const isRequest = text.includes('CERTIFICATE REQUEST-----')
      const body = {
        ...(isRequest ? { csr: text } : { certificate: asCertificate(file, text) }),
        days: values.number('days'),
        maxUses: values.number('max-uses'),
        expiresAt: values.instant('expires', world.now()),
      }
      const api = await client()
      const path = `/enrollment-profiles/${await profileId(api, profile)}/claims` as const
      const claim = await api.create(NewClaimView, path, body)
      const { certificate } = claim
      if (certificate === null || out.isJson) out.rows([claim], credentialColumns)
      else out.answer(certificate, (pem) => pem.trim())
    },
  },
  {
    verb: 'credentials',
    args: 'PROFILE',
    summary: 'Certificates that opened a profile, and how often; end-token ends one',
    run: async ({ client, args: [profile = ''], out }) => {
      const api = await client()
      const path = `/enrollment-profiles/${await profileId(api, profile)}/credentials` as const
      out.rows(await collect(api.list(Page(CredentialView), path)), credentialColumns)
    },
  },
  {
    verb: 'requests',
    args: '',
    summary: 'Requests that wait to be approved, newest first',
    options: {
      profile: { type: 'string', value: 'PROFILE', about: 'only of this profile' },
      state: { type: 'string', value: 'STATE', about: `one of ${states.join(', ')} (pending)` },
    },
    run: async ({ client, values, out }) => {
      const api = await client()
      const profile = values.text('profile')
      const query = {
        state: values.oneOf('state', states) ?? 'pending',
        profileId: profile === undefined ? undefined : await profileId(api, profile),
      }
      const requests = await collect(api.list(Page(RequestView), '/enrollment-requests', query))
      out.rows(requests, requestColumns)
    },
  },
  {
    verb: 'approve',
    args: 'REQUEST',
    summary: 'Let a device have its certificate; compare the key with the device first',
    options: { reason: { type: 'string', value: 'TEXT', about: 'why, for the audit log' } },
    run: decide('approve'),
  },
  {
    verb: 'deny',
    args: 'REQUEST',
    summary: 'Refuse a request, for good for that key',
    options: { reason: { type: 'string', value: 'TEXT', about: 'why, for the audit log' } },
    run: decide('deny'),
  },
]

function decide(action: 'approve' | 'deny') {
  return async ({ client, args: [request = ''], values, out }: CommandInput) => {
    const body = { action, reason: values.text('reason') }
    const path = `/enrollment-requests/${encodeURIComponent(request)}/actions` as const
    out.rows([await (await client()).act(RequestView, path, body)], requestColumns)
  }
}

/** Certificates in PEM. Throws a usage error when the file cannot be read or holds none. */
export async function readPemFile(file: string): Promise<string> {
  return asCertificate(file, await readText(file))
}

async function readText(file: string): Promise<string> {
  return await readFile(file, 'utf8').catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error)
    throw usageError(`Cannot read ${file}: ${why}`)
  })
}

function asCertificate(file: string, text: string): string {
  if (!text.includes('-----BEGIN CERTIFICATE-----')) {
    throw usageError(`${file} holds no certificate in PEM`)
  }
  return text
}
