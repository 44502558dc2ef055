import { ApiKeyView, NewApiKeyView, OperatorView } from '../../server/operators/wire.ts'
import { collect } from '../collect.ts'
import type { Noun } from '../command.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'
import { groupIdsOf } from './role.ts'

const columns: Column<ApiKeyView>[] = [
  { head: 'name', cell: (key) => key.name },
  { head: 'role', cell: (key) => key.role },
  { head: 'begins with', cell: (key) => key.prefix },
  { head: 'last used', cell: (key) => key.lastUsedAt },
  { head: 'ends', cell: (key) => (key.revokedAt ? 'revoked' : key.expiresAt) },
  { head: 'id', cell: (key) => key.id },
]

export const apiKeyNoun: Noun = {
  noun: 'api-key',
  summary: 'keys for operators and scripts',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'All keys, revoked ones too',
      run: async ({ client, out }) =>
        out.rows(await collect((await client()).list(Page(ApiKeyView), '/api-keys')), columns),
    },
    {
      verb: 'create',
      args: 'NAME',
      summary: 'Make a key; it is shown once',
      options: {
        role: {
          type: 'string',
          value: 'ROLE',
          about: 'what it may do (fleetseal role list) (needed)',
        },
        group: {
          type: 'string',
          value: 'GROUP',
          multiple: true,
          about: 'only for devices that are in this group, and in each one given',
        },
        expires: { type: 'string', value: 'WHEN', about: 'an instant, or a span such as 90d' },
        owner: { type: 'string', value: 'ID', about: 'the person with whom it stops' },
      },
      run: async ({ client, args: [name], values, out, world }) => {
        const role = values.needed('role')
        const expiresAt = values.instant('expires', world.now())
        const api = await client()
        const groupIds = await groupIdsOf(api, values)
        const body = { name, role, groupIds, expiresAt, ownerId: values.text('owner') }
        const key = await api.create(NewApiKeyView, '/api-keys', body)
        out.answer(key, (one) => one.secret)
      },
    },
    {
      verb: 'rotate',
      args: 'ID',
      summary: 'A new secret, shown once; the present one works on for a day',
      options: {
        overlap: { type: 'string', value: 'HOURS', about: 'for so long it works on (24)' },
      },
      run: async ({ client, args: [id = ''], values, out }) => {
        const body = { overlapHours: values.number('overlap') }
        const path = `/api-keys/${encodeURIComponent(id)}/rotation` as const
        const key = await (await client()).create(NewApiKeyView, path, body)
        out.answer(key, (one) => one.secret)
      },
    },
    {
      verb: 'revoke',
      args: 'ID',
      summary: 'Revoke a key; it opens nothing from then on',
      run: async ({ client, args: [id = ''], out }) => {
        await (await client()).delete(`/api-keys/${encodeURIComponent(id)}`)
        out.say('revoked')
      },
    },
    {
      verb: 'whoami',
      args: '',
      summary: 'Whose key this is',
      run: async ({ client, out }) =>
        out.fields(await (await client()).get(OperatorView, '/operators/me'), (me) => [
          ['name', me.name],
          ['roles', me.grants.map(({ role }) => role).join(', ')],
          ['groups', me.grants.map(({ groupIds }) => groupIds.join(' and ') || 'all').join('; ')],
          ['id', me.id],
        ]),
    },
  ],
}
