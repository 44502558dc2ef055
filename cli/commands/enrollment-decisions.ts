import { readFile } from 'node:fs/promises'

import { CredentialView, RequestView } from '../../server/enrollment/wire.ts'
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

/** Certificates as the way in, and what waits for a person. */
export const decisionCommands: readonly Command[] = [
  {
    verb: 'claim',
    args: 'PROFILE FILE',
    summary: 'Register a claim certificate (PEM): its holder may enroll so many devices',
    options: {
      'max-uses': { type: 'string', value: 'N', about: 'for at most so many devices (needed)' },
      expires: { type: 'string', value: 'WHEN', about: 'an instant or span (the certificate)' },
    },
    run: async ({ client, args: [profile = '', file = ''], values, out, world }) => {
      values.needed('max-uses')
      const body = {
        certificate: await readPemFile(file),
        maxUses: values.number('max-uses'),
        expiresAt: values.instant('expires', world.now()),
      }
      const api = await client()
      const path = `/enrollment-profiles/${await profileId(api, profile)}/claims`
      out.rows([await api.create(CredentialView, path, body)], credentialColumns)
    },
  },
  {
    verb: 'credentials',
    args: 'PROFILE',
    summary: 'Certificates that opened a profile, and how often; end-token ends one',
    run: async ({ client, args: [profile = ''], out }) => {
      const api = await client()
      const path = `/enrollment-profiles/${await profileId(api, profile)}/credentials`
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
    const path = `/enrollment-requests/${encodeURIComponent(request)}/actions`
    out.rows([await (await client()).act(RequestView, path, body)], requestColumns)
  }
}

/** Throws a usage error when it cannot be read, or is too large to be certificates. */
export async function readPemFile(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error)
    throw usageError(`Cannot read ${file}: ${why}`)
  })
  if (!text.includes('-----BEGIN CERTIFICATE-----')) {
    throw usageError(`${file} holds no certificate in PEM`)
  }
  return text
}
