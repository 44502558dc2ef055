import { readFile } from 'node:fs/promises'

import { OperatorCertificateView } from '../../server/operators/wire.ts'
import { collect } from '../collect.ts'
import type { Noun } from '../command.ts'
import { Failure } from '../failure.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'
import { groupIdsOf } from './role.ts'

const columns: Column<OperatorCertificateView>[] = [
  { head: 'name', cell: (one) => one.name },
  { head: 'roles', cell: (one) => one.grants.map(({ role }) => role).join(', ') },
  { head: 'fingerprint', cell: (one) => one.fingerprint.slice(0, 16) },
  { head: 'last used', cell: (one) => one.lastUsedAt },
  { head: 'ends', cell: (one) => (one.revokedAt ? 'revoked' : one.notAfter) },
  { head: 'id', cell: (one) => one.id },
]

export const operatorCertificateNoun: Noun = {
  noun: 'operator-certificate',
  summary: 'certificates that open the interface',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'All of them, revoked ones too',
      run: async ({ client, out }) => {
        const page = Page(OperatorCertificateView)
        out.rows(await collect((await client()).list(page, '/operator-certificates')), columns)
      },
    },
    {
      verb: 'register',
      args: 'NAME FILE',
      summary: 'Let in whoever holds the key of a certificate (PEM)',
      options: {
        role: { type: 'string', value: 'ROLE', about: 'what it may do (needed)' },
        group: {
          type: 'string',
          value: 'GROUP',
          multiple: true,
          about: 'only for devices that are in this group, and in each one given',
        },
        owner: { type: 'string', value: 'ID', about: 'the person with whom it stops' },
      },
      run: async ({ client, args: [name = '', file = ''], values, out }) => {
        const role = values.needed('role')
        const certificate = await readFile(file, 'utf8').catch(() => {
          throw new Failure('usage', `${file} cannot be read`)
        })
        const api = await client()
        const groupIds = await groupIdsOf(api, values)
        const body = { name, certificate, role, groupIds, ownerId: values.text('owner') }
        const made = await api.create(OperatorCertificateView, '/operator-certificates', body)
        out.answer(made, (one) => one.id)
      },
    },
    {
      verb: 'revoke',
      args: 'ID',
      summary: 'Revoke one, on connections that are open too',
      run: async ({ client, args: [id = ''], out }) => {
        await (await client()).delete(`/operator-certificates/${encodeURIComponent(id)}`)
        out.say('revoked')
      },
    },
  ],
}
