import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { newId } from '../../server/ids.ts'
import { createTestDatabase } from '../support/database.ts'
import { ReleaseWorld } from '../support/release-world.ts'

/*
 * Random wishes, words, changes of what is agreed to, policies and hours against a model of a few lines: a group is cut off
 * exactly when as many other people as the policy of now wants have agreed to exactly this within its time, and once.
 */
interface Key {
  person: number
  secret: string
}

interface Wish {
  id: string
  person: number
  what: string
  heard: Set<number>
  open: boolean
  endsAtHour: number
}

let handle: DatabaseHandle
let releases: ReleaseWorld
const keys: Key[] = []
beforeAll(async () => {
  handle = await createTestDatabase()
  releases = await ReleaseWorld.ready(handle)
  // Two keys each, but for the last.
  for (const person of [0, 0, 1, 1, 2]) keys.push({ person, secret: '' })
  const owners = [await givenPerson(), await givenPerson(), await givenPerson()]
  for (const [index, key] of keys.entries()) {
    const body = { name: `key-${index}`, role: 'admin', ownerId: owners[key.person] }
    key.secret = String((await releases.call('POST', '/api-keys', body))['secret'])
  }
})
afterAll(async () => {
  await releases[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

async function givenPerson(): Promise<string> {
  const now = releases.ctx.clock.now()
  const id = newId(now)
  const row = { id, name: 'Dora', email: null, state: 'active' as const }
  await handle.db
    .insertInto('person')
    .values({ ...row, created_by: 'key:test', created_at: now })
    .execute()
  return id
}

const key = fc.constantFrom(0, 1, 2, 3, 4)
const some = fc.nat(5)
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('disable'), key, n: fc.nat(1) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('disable at once'), key, n: fc.nat(1) }) },
  { weight: 7, arbitrary: fc.record({ do: fc.constant('approve'), key, n: some }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reject'), key, n: some }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('withdraw'), key, n: some }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('change'), key, n: fc.nat(1) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('policy'), key, n: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wait'), key, n: fc.nat(12) }) },
)
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never

class Run {
  readonly #groupId: string
  readonly #wishes: Wish[] = []
  #query = 0
  #needed = 1
  #hour = 0
  #done = 0

  constructor(groupId: string) {
    this.#groupId = groupId
  }

  async take({ do: what, key: index, n }: Step): Promise<void> {
    const by = keys[index] ?? { person: 0, secret: '' }
    switch (what) {
      case 'disable':
        return await this.#disable(by, n, 1)
      case 'disable at once':
        return await this.#disable(by, n, 3)
      case 'change':
        this.#query = n
        await releases.call('PATCH', `/groups/${this.#groupId}`, { query: `model = "m${n}"` })
        return
      case 'policy':
        this.#needed = n
        await setPolicy(n)
        return
      case 'wait':
        this.#hour += n
        releases.ctx.clock.advance({ seconds: n * 3_600 })
        return
      case 'approve':
      case 'reject':
      case 'withdraw':
        return await this.#decide(by, what, n)
      default:
        throw new Error('No such step')
    }
  }

  async #disable(by: Key, reason: number, times: number): Promise<void> {
    const what = `${reason} ${this.#query}`
    const wish = this.#wishes.find(
      (one) => this.#isOpen(one) && one.person === by.person && one.what === what,
    )
    const others = [...(wish?.heard ?? [])].filter((person) => person !== by.person)
    const isFree = others.length >= this.#needed
    const body = { action: 'disable', reason: `reason ${reason}` }
    const replies = await Promise.all(
      Array.from(
        { length: times },
        async () => await this.#call(by, 'POST', `/groups/${this.#groupId}/actions`, body),
      ),
    )
    if (isFree) {
      expect(replies.filter(({ status }) => status === 202)).not.toEqual([])
      if (wish && this.#needed > 0) wish.open = false
      this.#done += 1
      const enable = { action: 'enable', reason: 'over' }
      await releases.call('POST', `/groups/${this.#groupId}/actions`, enable)
      // Whoever came second may have been asked for a new consent.
      await this.#forgetUnknown()
    } else {
      const ids = new Set(replies.map(({ body: told }) => String(told['approvalId'])))
      expect(replies.map(({ status }) => status)).toEqual(replies.map(() => 409))
      expect(ids.size).toBe(1)
      const [id = ''] = ids
      if (wish) expect(id).toBe(wish.id)
      else
        this.#wishes.push({
          id,
          person: by.person,
          what,
          heard: new Set(),
          open: true,
          endsAtHour: this.#hour + 24,
        })
    }
    await this.#mustBeDone()
  }

  async #decide(by: Key, action: string, n: number): Promise<void> {
    const wish = this.#wishes.at(-1 - n)
    if (!wish) return
    const { status } = await this.#call(by, 'POST', `/approvals/${wish.id}/actions`, { action })
    const isAuthor = wish.person === by.person
    const expected = this.#isOpen(wish) ? (isAuthor === (action === 'withdraw') ? 200 : 403) : 409
    expect(status).toBe(expected)
    if (expected !== 200) return
    if (action === 'approve') wish.heard.add(by.person)
    else wish.open = false
  }

  #isOpen({ open, endsAtHour }: Wish): boolean {
    return open && this.#hour < endsAtHour
  }

  async #call({ secret }: Key, method: string, path: string, body: unknown) {
    return await releases.api.call(method, path, body, { key: secret })
  }

  async #forgetUnknown(): Promise<void> {
    const known = this.#wishes.map(({ id }) => id)
    const query = handle.db.deleteFrom('approval_request')
    await (known.length > 0 ? query.where('id', 'not in', known) : query).execute()
  }

  async #mustBeDone(): Promise<void> {
    const done = await handle.db
      .selectFrom('audit_event')
      .select('seq')
      .where('subject', '=', this.#groupId)
      .where('action', '=', 'group.disable')
      .execute()
    expect(done).toHaveLength(this.#done)
  }
}

async function setPolicy(needed: number): Promise<void> {
  const row = {
    needed,
    expires_hours: 24,
    changed_by: 'key:test',
    changed_at: releases.ctx.clock.now(),
  }
  await handle.db
    .insertInto('approval_policy')
    .values({ kind: 'group-disable', ...row })
    .onConflict((oc) => oc.column('kind').doUpdateSet(row))
    .execute()
}

test('nothing is done with fewer people than are wanted, nor twice, nor after its time, nor to what changed', async () => {
  let count = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
      await handle.db.deleteFrom('approval_request').execute()
      await setPolicy(1)
      const body = { name: `group-${++count}`, query: 'model = "m0"' }
      const run = new Run(String((await releases.call('POST', '/groups', body))['id']))
      for (const one of steps) await run.take(one)
    }),
    { numRuns: Number(process.env['FLEETSEAL_MODEL_RUNS'] ?? 10), seed: 20_261_126 },
  )
})
