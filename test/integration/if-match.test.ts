import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'

/* A change that says what it was made of (If-Match) is made of nothing else: nobody's work is overwritten unseen. */

let handle: DatabaseHandle
let api: TestApi

beforeAll(async () => {
  handle = await createTestDatabase()
  api = await startApi(handle)
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const ask = async (method: string, path: string, body?: unknown, tag?: string) =>
  await api.call(method, path, body, tag === undefined ? {} : { headers: { 'If-Match': tag } })

async function made(path: string, body: object) {
  const reply = await ask('POST', path, body)
  expect(reply.status, reply.text).toBe(201)
  return { id: String(reply.body['id']), tag: reply.headers.get('etag') }
}

const window = { cron: '0 1 * * *', duration: 'PT4H', zone: 'UTC' }

interface Changeable {
  what: string
  make: () => Promise<string>
  method: string
  changes: object[]
  clear?: boolean
  /** Nobody can remove it. */
  stays?: boolean
}

const alertRule = (windowSeconds: number) => ({
  name: `rule ${windowSeconds} ${crypto.randomUUID()}`,
  kinds: '*',
  windowSeconds,
})

async function profile(): Promise<string> {
  const { id: groupId } = await made('/groups', { name: `group ${crypto.randomUUID()}` })
  const name = `p-${crypto.randomUUID().slice(0, 13)}`
  return (
    await made('/enrollment-profiles', {
      name,
      groupId,
      auth: { type: 'token' },
      registration: 'just-in-time',
    })
  ).id
}

/** What can be changed: where, how, and what another change is. */
const changeable: Changeable[] = [
  {
    what: 'a group',
    make: async () => {
      const { id } = await made('/groups', { name: `group ${crypto.randomUUID()}` })
      return `/groups/${id}`
    },
    method: 'PATCH',
    changes: [{ description: 'one' }, { description: 'two' }, { description: 'three' }],
  },
  {
    what: 'the window of a group',
    make: async () => {
      const { id } = await made('/groups', { name: `group ${crypto.randomUUID()}` })
      return `/groups/${id}/window`
    },
    method: 'PUT',
    changes: [window, { ...window, duration: 'PT5H' }, { ...window, duration: 'PT6H' }],
  },
  {
    what: 'the window of a device',
    make: async () => {
      const { id } = await made('/devices', { serialNumber: crypto.randomUUID() })
      return `/devices/${id}/window`
    },
    method: 'PUT',
    changes: [window, { ...window, duration: 'PT5H' }, { ...window, duration: 'PT6H' }],
  },
  {
    what: 'a calendar of blackouts',
    make: async () => {
      const body = { name: crypto.randomUUID(), zone: 'UTC', dates: ['2030-12-24'] }
      return `/blackouts/${(await made('/blackouts', body)).id}`
    },
    method: 'PUT',
    changes: ['2030-12-25', '2030-12-26', '2030-12-27'].map((date) => ({
      name: `until ${date}`,
      zone: 'UTC',
      dates: [date],
    })),
    // Names are unique, and the next test uses them too.
    clear: true,
  },
  {
    what: 'the policy of a model',
    make: async () => {
      const name = `m-${crypto.randomUUID().slice(0, 13)}`
      await made('/models', { name, hardwareIds: ['hw-1'] })
      return `/models/${name}/policy`
    },
    method: 'PUT',
    changes: ['one', 'two', 'three'].map((word) => ({ justification: `because of ${word}` })),
    stays: true,
  },
  {
    what: 'a role',
    make: async () => {
      const name = `r-${crypto.randomUUID().slice(0, 13)}`
      await made('/roles', { name, description: '', permissions: ['devices:read'] })
      return `/roles/${name}`
    },
    method: 'PUT',
    changes: ['devices:read', 'groups:read', 'audit:read'].map((permission) => ({
      description: permission,
      permissions: [permission],
    })),
  },
  {
    what: 'a webhook',
    make: async () => {
      const body = { url: 'https://example.com/hook', types: ['device.registered'] }
      return `/webhooks/${(await made('/webhooks', body)).id}`
    },
    method: 'PATCH',
    changes: ['one', 'two', 'three'].map((description) => ({ description })),
    clear: true,
  },
  {
    what: 'an alert rule',
    make: async () => `/alert-rules/${(await made('/alert-rules', alertRule(60))).id}`,
    method: 'PUT',
    changes: [120, 180, 240].map((windowSeconds) => alertRule(windowSeconds)),
    clear: true,
  },
  {
    what: 'the EST policy of a profile',
    make: async () => `/enrollment-profiles/${await profile()}/est`,
    method: 'PUT',
    changes: [30, 40, 50].map((opensPercent) => ({ renewal: { opensPercent } })),
    stays: true,
  },
  {
    what: 'the SCEP policy of a profile',
    make: async () => `/enrollment-profiles/${await profile()}/scep`,
    method: 'PUT',
    changes: [{}, { allowSha1: true }, { allowBer: true }].map((rules) => ({
      enabled: true,
      ...rules,
    })),
    stays: true,
  },
]

test.each(changeable)(
  '$what: only what was seen is changed',
  async ({ make, method, changes, clear }) => {
    const path = await make()
    const [first, second, third] = changes
    const created = await ask(method, path, first)
    expect(created.status, created.text).toBe(200)
    const seen = created.headers.get('etag') ?? ''
    expect(seen).toMatch(/^"\d+"$/)
    expect(seen).toBe(`"${String(created.body['version'])}"`)

    const changed = await ask(method, path, second, seen)
    expect(changed.status, changed.text).toBe(200)
    const now = changed.headers.get('etag') ?? ''
    expect(now).not.toBe(seen)

    for (const stale of [seen, `W/${now}`, '"never"', `${seen}, "1x"`]) {
      const refused = await ask(method, path, third, stale)
      expect(refused, stale).toMatchObject({ status: 412, body: { code: 'precondition-failed' } })
    }
    const again = await ask(method, path, second, now)
    expect(again.headers.get('etag'), 'a refused change changed something').toBe(now)
    for (const broken of ['1', '']) {
      expect((await ask(method, path, third, broken)).status, broken).toBe(400)
    }
    expect((await ask(method, path, third, `${seen}, ${now}`)).status).toBe(200)
    expect((await ask(method, path, first, '*')).status).toBe(200)
    expect((await ask(method, path, second)).status).toBe(200)
    if (clear) await ask('DELETE', path)
  },
)

test.each(changeable.filter(({ stays }) => stays !== true))(
  '$what is removed as it was seen, or stays',
  async ({ make, method, changes }) => {
    const path = await make()
    const [first, second] = changes
    const seen = (await ask(method, path, first)).headers.get('etag') ?? ''
    const now = (await ask(method, path, second)).headers.get('etag') ?? ''
    expect((await ask('DELETE', path, undefined, seen)).status).toBe(412)
    expect((await ask('DELETE', path, undefined, now)).status).toBe(204)
  },
)

test('what was removed and made again is not what was seen', async () => {
  const { id } = await made('/groups', { name: 'again' })
  const path = `/groups/${id}/window`
  const seen = (await ask('PUT', path, window)).headers.get('etag') ?? ''
  await ask('DELETE', path)
  expect((await ask('PUT', path, window, seen)).status).toBe(412)
  await ask('PUT', path, window)
  expect((await ask('PUT', path, { ...window, duration: 'PT1H' }, seen)).status).toBe(412)
})

test('what the server itself writes does not stand in the way of people', async () => {
  const { id, tag } = await made('/groups', { name: 'counted' })
  expect(tag).toMatch(/^"\d+"$/)
  const device = await made('/devices', { serialNumber: 'SN-COUNTED' })
  await ask('PUT', `/groups/${id}/devices/${device.id}`)
  const seen = await ask('GET', `/groups/${id}`)
  expect(seen.body['deviceCount']).toBe(1)
  expect(seen.headers.get('etag')).toBe(tag)
})

test('many at once, who each add a word to what they read: no word is lost', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.stringMatching(/^[a-z]{1,6}$/), { minLength: 2, maxLength: 5 }),
      async (words) => {
        const { id } = await made('/groups', { name: `words ${crypto.randomUUID()}` })
        const add = async (word: string) => {
          for (;;) {
            const read = await ask('GET', `/groups/${id}`)
            const description = `${String(read.body['description'])} ${word}`
            const tag = read.headers.get('etag') ?? ''
            const { status } = await ask('PATCH', `/groups/${id}`, { description }, tag)
            if (status === 200) return
            expect(status).toBe(412)
          }
        }
        await Promise.all(words.map(add))
        const { body } = await ask('GET', `/groups/${id}`)
        expect(String(body['description']).trim().split(' ').toSorted()).toEqual(words.toSorted())
      },
    ),
    { seed: 7, numRuns: 8 },
  )
})

test.each(['est', 'scep'])('two who say the first %s policy: one of them', async (protocol) => {
  const path = `/enrollment-profiles/${await profile()}/${protocol}`
  const seen = (await ask('GET', path)).headers.get('etag') ?? ''
  expect(seen).toBe('"0"')
  const bodies = [1, 2, 3].map((days) =>
    protocol === 'est'
      ? { renewal: { graceDays: days } }
      : { enabled: true, allowSha1: days > 1, allowBer: days > 2 },
  )
  const replies = await Promise.all(bodies.map((body) => ask('PUT', path, body, seen)))
  expect(replies.map(({ status }) => String(status)).toSorted()).toEqual(['200', '412', '412'])
  const won = replies.find(({ status }) => status === 200)
  const now = await ask('GET', path)
  expect(now.body).toEqual(won?.body)
  expect(now.headers.get('etag')).toBe(won?.headers.get('etag'))
})

test('two who change a role, a webhook or an alert rule as they saw it: one of them', async () => {
  for (const { make, method, changes, what, clear } of changeable) {
    if (!['a role', 'a webhook', 'an alert rule'].includes(what)) continue
    const path = await make()
    const [first, second, third] = changes
    const seen = (await ask(method, path, first)).headers.get('etag') ?? ''
    const replies = await Promise.all([second, third].map((body) => ask(method, path, body, seen)))
    expect(replies.map(({ status }) => String(status)).toSorted(), what).toEqual(['200', '412'])
    if (clear) await ask('DELETE', path)
  }
})

test('two who say the rights of somebody as they saw them: one of them', async () => {
  const key = await made('/api-keys', { name: `key ${crypto.randomUUID()}`, role: 'viewer' })
  const path = `/grants/${encodeURIComponent(`key:${key.id}`)}`
  const say = async (tag: string, ...roles: string[]) =>
    await ask('PUT', path, { grants: roles.map((role) => ({ role, groupIds: [] })) }, tag)
  const seen = (await ask('GET', path)).headers.get('etag') ?? ''
  expect(seen).toMatch(/^"[0-9a-f]{16}"$/)
  const replies = await Promise.all([
    say(seen, 'viewer', 'operator'),
    say(seen, 'viewer', 'auditor'),
  ])
  expect(replies.map(({ status }) => String(status)).toSorted()).toEqual(['200', '412'])
  const now = await ask('GET', path)
  expect(now.body['grants']).toHaveLength(2)
  // The same rights again are the same version, in whatever order they are said.
  const won = replies.find(({ status }) => status === 200)
  expect(now.headers.get('etag')).toBe(won?.headers.get('etag'))
  expect((await say(now.headers.get('etag') ?? '', 'viewer')).headers.get('etag')).toBe(seen)
})

test('what the server counts in a profile is not what people wrote', async () => {
  const path = `/enrollment-profiles/${await profile()}`
  const seen = (await ask('GET', path)).headers.get('etag') ?? ''
  expect(seen).toMatch(/^"\d+"$/)
  await handle.db.updateTable('enrollment_profile').set({ used: 1, hour_used: 1 }).execute()
  expect((await ask('GET', path)).headers.get('etag')).toBe(seen)
})

test('a role that is always there has no version', async () => {
  const { headers, body } = await ask('GET', '/roles/viewer')
  expect(body['version']).toBeNull()
  expect(headers.get('etag')).toBeNull()
})

test('a webhook that is switched off and on is the one that was seen', async () => {
  const body = { url: 'https://example.com/hook', types: ['device.registered'] }
  const { id, tag } = await made('/webhooks', body)
  await ask('POST', `/webhooks/${id}/actions`, { action: 'disable' })
  const seen = await ask('GET', `/webhooks/${id}`)
  expect(seen.headers.get('etag')).toBe(tag)
  expect((await ask('DELETE', `/webhooks/${id}`, undefined, tag ?? '')).status).toBe(204)
})
