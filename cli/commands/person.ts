import { PersonView, SessionView } from '../../server/people/wire.ts'
import { AccountView, NewInvitationView } from '../../server/sign-in/self-wire.ts'
import { collect } from '../collect.ts'
import type { CommandInput, Noun } from '../command.ts'
import { Failure } from '../failure.ts'
import { isId } from '../lookup.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'
import { groupIdsOf } from './role.ts'

type Api = Awaited<ReturnType<CommandInput['client']>>

const columns: Column<PersonView>[] = [
  { head: 'name', cell: (person) => person.name },
  { head: 'e-mail', cell: (person) => person.email },
  { head: 'state', cell: (person) => person.state },
  { head: 'signs in', cell: (person) => (person.provider ? person.provider.issuer : 'here') },
  { head: 'last', cell: (person) => person.lastSignInAt },
  { head: 'id', cell: (person) => person.id },
]

const sessionColumns: Column<SessionView>[] = [
  { head: 'began', cell: (session) => session.createdAt },
  { head: 'last seen', cell: (session) => session.lastSeenAt },
  { head: 'from', cell: (session) => session.address },
  { head: 'by', cell: (session) => session.method },
  { head: 'ended', cell: (session) => session.endedReason },
  { head: 'id', cell: (session) => session.id },
]

export const personNoun: Noun = {
  noun: 'person',
  summary: 'people who sign in, here or at a provider',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'Everybody, disabled ones too',
      run: async ({ client, out }) =>
        out.rows(await collect((await client()).list(Page(PersonView), '/people')), columns),
    },
    {
      verb: 'show',
      args: 'PERSON',
      summary: 'One person, by id or e-mail',
      run: async ({ client, args: [person = ''], out }) => {
        const api = await client()
        show(out, await api.get(PersonView, `/people/${await personId(api, person)}`))
      },
    },
    {
      verb: 'create',
      args: 'NAME EMAIL',
      summary: 'Make a local account; invite the person next',
      options: {
        role: { type: 'string', value: 'ROLE', about: 'what this person may do' },
        group: {
          type: 'string',
          value: 'GROUP',
          multiple: true,
          about: 'only for devices that are in this group, and in each one given',
        },
      },
      run: async ({ client, args: [name = '', email = ''], values, out }) => {
        const api = await client()
        const role = values.text('role')
        const groupIds = await groupIdsOf(api, values)
        const grants = role === undefined ? [] : [{ role, groupIds }]
        show(out, await api.create(PersonView, '/people', { name, email, grants }))
      },
    },
    {
      verb: 'invite',
      args: 'PERSON',
      summary: 'A link to take a local account, shown once; resets one in use',
      run: async ({ client, args: [person = ''], out }) => {
        const api = await client()
        const path = `/people/${await personId(api, person)}/invitations` as const
        out.answer(await api.create(NewInvitationView, path, {}), (one) => one.url)
      },
    },
    {
      verb: 'unlock',
      args: 'PERSON',
      summary: 'Forget the failed attempts on an account',
      run: async ({ client, args: [person = ''], out }) => {
        const api = await client()
        await api.act(AccountView, `/people/${await personId(api, person)}/unlock`, {})
        out.say('unlocked')
      },
    },
    {
      verb: 'disable',
      args: 'PERSON',
      summary: 'Keep somebody out at once: sessions, keys and certificates',
      options: reasonOption(),
      run: action('disable'),
    },
    {
      verb: 'enable',
      args: 'PERSON',
      summary: 'Let somebody back',
      options: reasonOption(),
      run: action('enable'),
    },
    {
      verb: 'sessions',
      args: 'PERSON',
      summary: 'Where somebody is or was signed in',
      run: async ({ client, args: [person = ''], out }) => {
        const api = await client()
        const path = `/people/${await personId(api, person)}/sessions` as const
        out.rows(await collect(api.list(Page(SessionView), path)), sessionColumns)
      },
    },
    {
      verb: 'end-sessions',
      args: 'PERSON [SESSION]',
      summary: 'Sign somebody out, everywhere or of one session',
      run: async ({ client, args: [person = '', session], out }) => {
        const api = await client()
        const id = await personId(api, person)
        if (session === undefined) await api.delete(`/people/${id}/sessions`)
        else await api.delete(`/people/${id}/sessions/${encodeURIComponent(session)}`)
        out.say('ended')
      },
    },
  ],
}

/** The id of a person who is given by id, or by the e-mail address of a local account or a provider's. */
async function personId(api: Api, given: string): Promise<string> {
  if (isId(given)) return given.toLowerCase()
  const found: string[] = []
  for await (const person of api.list(Page(PersonView), '/people')) {
    if (person.email?.toLowerCase() === given.toLowerCase()) found.push(person.id)
  }
  const [id, ...others] = found
  if (id !== undefined && others.length === 0) return id
  const message =
    id === undefined ? `There is no person ${given}` : `Several people have the address ${given}`
  throw new Failure('not-found', message, {
    nextStep: 'fleetseal person list shows the ids',
  })
}

function reasonOption() {
  return {
    reason: { type: 'string', value: 'TEXT', about: 'why, for the audit log (needed)' },
  } as const
}

function action(word: 'disable' | 'enable') {
  return async ({ client, args: [person = ''], values, out }: CommandInput) => {
    const body = { action: word, reason: values.needed('reason') }
    const api = await client()
    show(out, await api.act(PersonView, `/people/${await personId(api, person)}/actions`, body))
  }
}

function show(out: CommandInput['out'], person: PersonView): void {
  out.fields(person, (one) => [
    ['name', one.name],
    ['e-mail', one.email],
    ['state', one.state],
    ['signs in', one.provider ? `at ${one.provider.issuer}` : 'here'],
    ['last signed in', one.lastSignInAt],
    ['principal', one.principal],
    ['id', one.id],
  ])
}
