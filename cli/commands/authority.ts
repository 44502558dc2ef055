import { writeFile } from 'node:fs/promises'

import {
  authorityAlgorithms,
  authorityPurposes,
  issuerPurposes,
} from '../../server/authorities/state.ts'
import { AuthorityRequestView, AuthorityView, KekView } from '../../server/authorities/wire.ts'
import { RootCrlView } from '../../server/certificates/wire.ts'
import type { ApiClient } from '../api.ts'
import { keyIdOfRequest } from '../ceremony/key-id.ts'
import { collect } from '../collect.ts'
import type { CommandInput, Noun, Option } from '../command.ts'
import { Failure, usageError } from '../failure.ts'
import { authorityId } from '../lookup.ts'
import { Page } from '../page.ts'
import { readSmall } from '../settings.ts'
import type { Column } from '../table.ts'

const columns: Column<AuthorityView>[] = [
  { head: 'purpose', cell: (authority) => authority.purpose },
  { head: 'name', cell: (authority) => authority.name },
  { head: 'series', cell: (authority) => authority.series },
  { head: 'state', cell: (authority) => authority.state },
  { head: 'until', cell: (authority) => authority.notAfter },
  { head: 'key', cell: keyOf },
  { head: 'id', cell: (authority) => authority.id },
]

const requestColumns: Column<AuthorityRequestView>[] = [
  { head: 'purpose', cell: (request) => request.purpose },
  { head: 'name', cell: (request) => request.name },
  { head: 'key id', cell: (request) => keyIdOfRequest(request.request) },
  { head: 'made', cell: (request) => request.createdAt },
  { head: 'id', cell: (request) => request.id },
]

const making: Record<string, Option> = {
  series: {
    type: 'string',
    value: 'NAME',
    about: 'beside those of other series, for the profiles that name it (default)',
  },
  algorithm: {
    type: 'string',
    value: 'KIND',
    about: `${authorityAlgorithms.join(', ')} (what suits the root)`,
  },
  key: {
    type: 'string',
    value: 'URI',
    about: 'keep the key in a token: pkcs11:token=LABEL;object=NAME, made there when it is new',
  },
}

export const authorityNoun: Noun = {
  noun: 'authority',
  summary: 'certificate authorities: look, roll over, retire; requests to a root elsewhere',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'Authorities, newest first, retired ones too',
      run: async ({ client, out }) =>
        out.rows(
          await collect((await client()).list(Page(AuthorityView), '/authorities')),
          columns,
        ),
    },
    {
      verb: 'show',
      args: 'AUTHORITY',
      summary: 'One authority, by id or name',
      run: async ({ client, args: [given = ''], out }) => {
        const api = await client()
        show(out, await api.get(AuthorityView, `/authorities/${await authorityId(api, given)}`))
      },
    },
    {
      verb: 'create',
      args: 'PURPOSE',
      summary: `Make one that is to take over (${authorityPurposes.join(', ')}): accepted at once, issuing when activated`,
      options: making,
      run: async ({ client, args: [purpose], values, out }) => {
        const body = { purpose, ...choices(values) }
        const made = await (await client()).create(AuthorityView, '/authorities', body)
        show(out, made)
        if (made.state === 'prepared') out.say(`next: fleetseal authority activate ${made.id}`)
      },
    },
    {
      verb: 'activate',
      args: 'AUTHORITY',
      summary: 'Let it issue from now on; the one before stays accepted until it is retired',
      run: async (input) => await act(input, 'activate'),
    },
    {
      verb: 'retire',
      args: 'AUTHORITY',
      summary: 'Accept it no more; refused while certificates depend on it',
      run: async (input) => await act(input, 'retire'),
    },
    {
      verb: 'destroy-key',
      args: 'AUTHORITY',
      summary: 'Destroy the private key of a retired one for good, after all under it has ended',
      run: async (input) => await act(input, 'destroy-key'),
    },
    {
      verb: 'request',
      args: 'PURPOSE',
      summary: `Write the file that asks a root elsewhere for an authority (${issuerPurposes.join(', ')})`,
      options: {
        out: { type: 'string', value: 'FILE', about: 'where it goes (PURPOSE.csr.pem)' },
        ...making,
      },
      run: request,
    },
    {
      verb: 'requests',
      args: '',
      summary: 'Requests that wait for an answer',
      run: async ({ client, out }) =>
        out.rows(
          await collect((await client()).list(Page(AuthorityRequestView), '/authority-requests')),
          requestColumns,
        ),
    },
    {
      verb: 'answer',
      args: 'FILE',
      summary: "Send the root's answer to a request",
      options: {
        request: { type: 'string', value: 'ID', about: 'which request (needed when several wait)' },
      },
      run: answer,
    },
    {
      verb: 'end-request',
      args: 'ID',
      summary: 'Give a request up, with its key',
      run: async ({ client, args: [id = ''], out }) => {
        await (await client()).delete(`/authority-requests/${encodeURIComponent(id)}`)
        out.say('ended')
      },
    },
    {
      verb: 'import-root',
      args: 'FILE',
      summary: 'Take a root whose key stays elsewhere, from a file of fleetseal ceremony rollover',
      run: async ({ client, args: [file = ''], out }) => {
        const body = { file: await readSmall(file, 'the root file', 'its path') }
        const made = await (await client()).create(AuthorityView, '/authorities/roots', body)
        show(out, made)
        out.say(`next: fleetseal authority activate ${made.id}`)
      },
    },
    {
      verb: 'import-crl',
      args: 'FILE',
      summary: 'Publish the list of a root elsewhere, from a file of fleetseal ceremony crl',
      options: {
        root: { type: 'string', value: 'AUTHORITY', about: 'whose list it is (the active root)' },
      },
      run: importCrl,
    },
    {
      verb: 'kek',
      args: '',
      summary: 'The key-encryption key, which wraps all other keys: when it was changed',
      run: async ({ client, out }) =>
        showKek(out, await (await client()).get(KekView, '/key-encryption-key')),
    },
    {
      verb: 'rotate-kek',
      args: '',
      summary: 'Replace the key-encryption key while the server runs; the one before is kept aside',
      run: async ({ client, out }) => {
        const path = '/key-encryption-key/actions'
        showKek(out, await (await client()).act(KekView, path, { action: 'rotate' }))
        out.say(
          'next: copy the new file to where you keep copies, then fleetseal authority confirm-kek',
        )
      },
    },
    {
      verb: 'confirm-kek',
      args: '',
      summary: 'Remove the key before from the server; older backups of the database need it',
      run: async ({ client, out }) => {
        const path = '/key-encryption-key/actions'
        showKek(out, await (await client()).act(KekView, path, { action: 'confirm' }))
      },
    },
  ],
}

function choices(values: CommandInput['values']) {
  return {
    series: values.text('series'),
    algorithm: values.oneOf('algorithm', authorityAlgorithms),
    keyUri: values.text('key'),
  }
}

/** Where the private key is. */
function keyOf({ hasKey, keyUri, keyDestroyedAt }: AuthorityView): string {
  if (keyDestroyedAt !== null) return 'destroyed'
  return keyUri ?? (hasKey ? 'here' : 'elsewhere')
}

function showKek(out: CommandInput['out'], kek: KekView): void {
  out.fields(kek, (one) => [
    ['changed', one.rotatedAt ?? 'never'],
    ['the one before', one.isPreviousKept ? 'kept until confirm-kek' : 'not here'],
  ])
}

async function act(
  { client, args: [given = ''], out }: CommandInput,
  action: 'activate' | 'retire' | 'destroy-key',
): Promise<void> {
  const api = await client()
  const path = `/authorities/${await authorityId(api, given)}/actions` as const
  show(out, await api.act(AuthorityView, path, { action }))
}

async function request({ client, args: [purpose = ''], values, out }: CommandInput): Promise<void> {
  const api = await client()
  const made = await api.create(AuthorityRequestView, '/authority-requests', {
    purpose,
    ...choices(values),
  })
  const file = values.text('out') ?? `${made.purpose}.csr.pem`
  await writeFile(file, made.request)
  out.answer({ ...made, file }, (one) =>
    [
      `${one.name}: ${file}`,
      `key id: ${keyIdOfRequest(one.request)}`,
      `next: on the machine of the root: fleetseal ceremony sign ${file}`,
    ].join('\n'),
  )
}

async function answer({ client, args: [file = ''], values, out }: CommandInput): Promise<void> {
  const api = await client()
  const text = await readSmall(file, 'the answer file', 'its path')
  const id = values.text('request') ?? (await onlyRequest(api))
  const path = `/authority-requests/${encodeURIComponent(id)}/answer` as const
  const made = await api.act(AuthorityView, path, { answer: text })
  show(out, made)
  if (made.state === 'prepared') out.say(`next: fleetseal authority activate ${made.id}`)
}

async function onlyRequest(api: ApiClient): Promise<string> {
  const waiting = await collect(api.list(Page(AuthorityRequestView), '/authority-requests'))
  const [one, ...more] = waiting
  if (!one)
    throw usageError('No request waits for an answer', 'fleetseal authority request PURPOSE')
  if (more.length === 0) return one.id
  throw usageError(
    'Several requests wait',
    `Add --request: ${waiting.map(({ id, purpose }) => `${id} (${purpose})`).join(', ')}`,
  )
}

async function importCrl({ client, args: [file = ''], values, out }: CommandInput): Promise<void> {
  const api = await client()
  const crl = await readSmall(file, 'the list', 'its path')
  const given = values.text('root')
  const id = given === undefined ? await activeRoot(api) : await authorityId(api, given)
  const made = await api.act(RootCrlView, `/authorities/${id}/crl`, { crl })
  out.fields(made, (one) => [
    ['number', one.number],
    ['from', one.thisUpdate],
    ['until', one.nextUpdate],
    ['revoked', one.revoked.join(', ')],
  ])
}

async function activeRoot(api: ApiClient): Promise<string> {
  for await (const { purpose, state, id } of api.list(Page(AuthorityView), '/authorities')) {
    if (purpose === 'root' && state === 'active') return id
  }
  throw new Failure('not-found', 'There is no active root', {
    nextStep: 'fleetseal authority list',
  })
}

function show(out: CommandInput['out'], authority: AuthorityView): void {
  out.fields(authority, (one) => [
    ['name', one.name],
    ['purpose', one.purpose],
    ['state', one.state],
    ['valid', `${one.notBefore} to ${one.notAfter}`],
    ['series', one.series],
    ['key', `${one.algorithm}, ${keyOf(one)}`],
    ['revoked', one.revokedAt],
    ['key destroyed', one.keyDestroyedAt],
    ['fingerprint', one.fingerprint],
    ['issuer', one.issuerId],
    ['id', one.id],
  ])
}
