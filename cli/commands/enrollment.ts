import {
  NewProfileView,
  NewTokenView,
  ProfileView,
  TokenView,
} from '../../server/enrollment/wire.ts'
import type { ApiClient } from '../api.ts'
import { collect } from '../collect.ts'
import type { CommandInput, Noun } from '../command.ts'
import { groupId, profileId } from '../lookup.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'
import { batchCommands } from './enrollment-batch.ts'
import { decisionCommands, readPemFile } from './enrollment-decisions.ts'
import { estPolicyCommands } from './enrollment-est.ts'

const profileColumns: Column<ProfileView>[] = [
  { head: 'name', cell: (profile) => profile.name },
  { head: 'registration', cell: (profile) => profile.registration },
  { head: 'used', cell: (profile) => `${profile.used} of ${profile.quota ?? 'any'}` },
  { head: 'until', cell: (profile) => profile.validUntil },
  { head: 'id', cell: (profile) => profile.id },
]

const tokenColumns: Column<TokenView>[] = [
  { head: 'used', cell: (token) => `${token.uses} of ${token.maxUses ?? 'any'}` },
  { head: 'until', cell: (token) => token.expiresAt },
  { head: 'made', cell: (token) => token.createdAt },
  { head: 'id', cell: (token) => token.id },
]

const ways = ['token', 'certificate', 'claim'] as const
const again = ['off', 'same-key', 'on'] as const

export const enrollmentNoun: Noun = {
  noun: 'enrollment',
  summary: 'who may enroll: profiles and their tokens',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'Enrollment profiles, newest first',
      run: async ({ client, out }) =>
        out.rows(
          await collect((await client()).list(Page(ProfileView), '/enrollment-profiles')),
          profileColumns,
        ),
    },
    {
      verb: 'create',
      args: 'NAME',
      summary: 'Make a profile; NAME is also the user name that devices enroll with',
      options: {
        group: { type: 'string', value: 'GROUP', about: 'the group that devices join (needed)' },
        registered: { type: 'boolean', about: 'only devices registered before (any may come)' },
        'id-pattern': { type: 'string', value: 'PATTERN', about: 'what serial numbers look like' },
        quota: { type: 'string', value: 'N', about: 'at most so many devices' },
        'quota-per-hour': { type: 'string', value: 'N', about: 'at most so many in an hour' },
        network: {
          type: 'string',
          multiple: true,
          value: 'CIDR',
          about: 'only from this network (anywhere)',
        },
        from: { type: 'string', value: 'WHEN', about: 'not before this instant' },
        until: { type: 'string', value: 'WHEN', about: 'an instant, or a span such as 90d' },
        days: { type: 'string', value: 'N', about: 'how long a certificate is valid (90)' },
        managed: {
          type: 'boolean',
          about: 'owners agreed that two operators may decide over them; devices say so too',
        },
        issuer: {
          type: 'string',
          value: 'SERIES',
          about: 'whose authority issues (default); see authority create --series',
        },
        auth: { type: 'string', value: 'HOW', about: `one of ${ways.join(', ')} (token)` },
        anchor: {
          type: 'string',
          multiple: true,
          value: 'FILE',
          about: "PEM of an authority that issued the devices' certificates",
        },
        key: {
          type: 'string',
          multiple: true,
          value: 'KIND',
          about: 'only keys of this kind (any)',
        },
        approval: { type: 'boolean', about: 'each request waits until somebody approves it' },
        replaceable: { type: 'string', value: 'HOW', about: `one of ${again.join(', ')} (off)` },
        webhook: { type: 'string', value: 'URL', about: 'asked before each enrollment' },
      },
      run: createProfile,
    },
    {
      verb: 'show',
      args: 'PROFILE',
      summary: 'One profile, by id or name',
      run: async ({ client, args: [profile = ''], out }) => {
        const api = await client()
        const path = `/enrollment-profiles/${await profileId(api, profile)}` as const
        show(out, await api.get(ProfileView, path))
      },
    },
    {
      verb: 'token',
      args: 'PROFILE',
      summary: 'Make a token; it is shown once and is the password that devices enroll with',
      options: {
        'max-uses': { type: 'string', value: 'N', about: 'for at most so many devices' },
        expires: { type: 'string', value: 'WHEN', about: 'an instant, or a span such as 24h' },
      },
      run: async ({ client, args: [profile = ''], values, out, world }) => {
        const api = await client()
        const body = {
          maxUses: values.number('max-uses'),
          expiresAt: values.instant('expires', world.now()),
        }
        const token = await api.create(NewTokenView, await tokensOf(api, profile), body)
        out.answer(token, (one) => one.token)
      },
    },
    {
      verb: 'tokens',
      args: 'PROFILE',
      summary: 'Tokens of a profile, without their secrets',
      run: async ({ client, args: [profile = ''], out }) => {
        const api = await client()
        const path = await tokensOf(api, profile)
        out.rows(await collect(api.list(Page(TokenView), path)), tokenColumns)
      },
    },
    {
      verb: 'end-token',
      args: 'PROFILE TOKEN',
      summary: 'End a token, by its id; certificates stay',
      run: async ({ client, args: [profile = '', token = ''], out }) => {
        const api = await client()
        await api.delete(`${await tokensOf(api, profile)}/${encodeURIComponent(token)}`)
        out.say('ended')
      },
    },
    ...decisionCommands,
    ...batchCommands,
    ...estPolicyCommands,
  ],
}

async function createProfile({ client, args: [name], values, out, world }: CommandInput) {
  const group = values.needed('group')
  const anchors = await Promise.all(values.texts('anchor').map(readPemFile))
  const keys = values.texts('key')
  const networks = values.texts('network')
  const url = values.text('webhook')
  const api = await client()
  const body = {
    name,
    groupId: await groupId(api, group),
    auth: {
      type: values.oneOf('auth', ways) ?? 'token',
      trustAnchors: anchors.length > 0 ? anchors : undefined,
    },
    registration: values.flag('registered') ? 'pre-registered' : 'just-in-time',
    idPattern: values.text('id-pattern'),
    quota: values.number('quota'),
    quotaPerHour: values.number('quota-per-hour'),
    sourceNetworks: networks.length > 0 ? networks : undefined,
    validFrom: values.instant('from', world.now()),
    validUntil: values.instant('until', world.now()),
    certificateDays: values.number('days'),
    managed: values.flag('managed') || undefined,
    issuerSeries: values.text('issuer'),
    keyPolicy: keys.length > 0 ? keys : undefined,
    approval: values.flag('approval') ? 'manual' : undefined,
    replaceable: values.oneOf('replaceable', again),
    webhook: url === undefined ? undefined : { url },
  }
  const profile = await api.create(NewProfileView, '/enrollment-profiles', body)
  show(out, profile)
  if (profile.webhookSecret) out.say(`webhook secret, shown once: ${profile.webhookSecret}`)
}

async function tokensOf(api: ApiClient, profile: string) {
  return `/enrollment-profiles/${await profileId(api, profile)}/tokens` as const
}

function show(out: CommandInput['out'], profile: ProfileView): void {
  out.fields(profile, (one) => [
    ['name', one.name],
    ['devices show', one.auth.type],
    ['anchors', one.auth.trustAnchors.map(({ subject }) => subject).join('; ')],
    ['registration', one.registration],
    ['approval', one.approval],
    ['enroll again', one.replaceable],
    ['webhook', one.webhook?.url],
    ['keys', one.keyPolicy.join(', ')],
    ['serial numbers', one.idPattern],
    ['used', `${one.used} of ${one.quota ?? 'any'}`],
    ['an hour', one.quotaPerHour ?? 'any'],
    ['networks', one.sourceNetworks.join(', ') || 'any'],
    ['paused', one.pausedAt],
    ['valid', `${one.validFrom ?? 'now'} to ${one.validUntil ?? 'any time'}`],
    ['certificates', `${one.certificateDays} days`],
    ['managed', one.managed],
    ['issuer', one.issuerSeries],
    ['group', one.groupId],
    ['id', one.id],
  ])
}
