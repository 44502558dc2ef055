import { createHash, randomBytes } from 'node:crypto'

import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { checkLog, type SeenLog } from '../../device-sim/update/seen-log.ts'
import { leafHash, TreeEdge } from '../../pki/merkle.ts'
import { heldVersions } from '../../pki/tuf/bundle.ts'
import { deviceEntry, leafOf, showsConsistent, showsIncluded } from '../../pki/tuf/log-entry.ts'
import { verifyBundle } from '../../pki/tuf/verify.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import type { BundleMessage } from '../../server/protocol/messages.ts'
import { appendEntries, headAt, logHead, proofsFor } from '../../server/transparency/service.ts'
import { transparencyWorkers } from '../../server/transparency/workers.ts'
import { createTestDatabase } from '../support/database.ts'
import { ReleaseWorld, type TestDevice } from '../support/release-world.ts'

let world: ReleaseWorld
let handle: DatabaseHandle
let release: string
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await ReleaseWorld.ready(handle)
  release = await world.publishRelease()
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const entry = (name: string) => deviceEntry(createHash('sha256').update(name).digest('hex'))
const append = async (names: string[]) =>
  await inTransaction(world.ctx.db, (tx) =>
    appendEntries(tx, names.map(entry), world.ctx.clock.now()),
  )

async function readAll(): Promise<{ no: number; data: string }[]> {
  return await world.ctx.db.selectFrom('log_entry').select(['no', 'data']).orderBy('no').execute()
}

/** A device that looks at the log, with the agent's own check. */
class Watcher {
  seen: SeenLog | undefined
  readonly device: TestDevice

  constructor(device: TestDevice) {
    this.device = device
  }

  async poll(change: (bundle: BundleMessage) => BundleMessage = (bundle) => bundle) {
    const { device } = this
    const nonce = randomBytes(16).toString('hex')
    const { size = 0, proven = [] } = this.seen ?? {}
    const have = { ...heldVersions(device.state), log: { size, proven } }
    const answer = await device.ask(nonce, have)
    if (!answer) throw new Error('no answer')
    const bundle = change(answer)
    const verified = verifyBundle(device.state, bundle, device.facts, { nonce })
    this.seen = checkLog(this.seen, verified, Buffer.from(JSON.stringify(bundle)))
    device.state = verified.state
    return { verified, bundle }
  }
}

async function watcher(): Promise<Watcher> {
  const device = await world.device()
  await world.deploy(device.id, release)
  return new Watcher(device)
}

describe('a bundle', () => {
  test('shows a device that its files are in the log, once', async () => {
    const one = await watcher()
    const { verified, bundle } = await one.poll()
    expect(verified.targets).toHaveLength(1)
    expect(Object.keys(bundle.log?.included ?? {})).toHaveLength(3)
    expect(one.seen?.proven).toHaveLength(3)
    const again = await one.poll()
    expect(again.bundle.log).toBeUndefined()
    expect(again.bundle.director['timestamp.json']).not.toContain('x-log')
  })

  test('says nothing of it to a device that does not ask', async () => {
    const device = await world.device()
    const answer = await device.ask(randomBytes(16).toString('hex'))
    expect(answer?.log).toBeUndefined()
    expect(answer?.director['timestamp.json']).not.toContain('x-log')
  })

  test('follows a log that grew, and what was taken out of the message is missed', async () => {
    const one = await watcher()
    await one.poll()
    const before = one.seen?.size ?? 0
    await append(['more 1', 'more 2', 'more 3'])
    await world.ctx.db
      .updateTable('deployment')
      .set({ state: 'cancelled' })
      .where('device_id', '=', one.device.id)
      .execute()
    await expect(one.poll(({ director, image }) => ({ director, image }))).rejects.toMatchObject({
      code: 'log',
    })
    await one.poll()
    expect(one.seen?.size).toBeGreaterThan(before + 3)
  })

  test('is for many devices three reads', async () => {
    const ask = async (count: number) => {
      const leaves = (await readAll()).slice(0, count).map(({ data }) => leafOf(Buffer.from(data)))
      const questions = leaves.map((leaf, n) => ({ leaves: [leaf], sizes: [n + 1] }))
      return await world.counter.during(() => proofsFor(world.ctx.db, questions))
    }
    expect(await ask(2)).toBe(3)
    expect(await ask(8)).toBe(3)
  })
})

describe('the log', () => {
  test('holds each entry once, without gaps, whoever appends at the same time', async () => {
    const { size } = await logHead(world.ctx.db)
    const names = Array.from({ length: 12 }, (_, n) => `shared ${n}`)
    await Promise.all([0, 3, 6, 9].map((from) => append([...names.slice(from), ...names])))
    const all = await readAll()
    expect(all.map(({ no }) => no)).toEqual(all.map((_, n) => n))
    expect(all).toHaveLength(size + 12)
    const tree = new TreeEdge(0, [])
    for (const { data } of all) tree.append(leafHash(Buffer.from(data)))
    const head = await logHead(world.ctx.db)
    expect(head).toEqual({ size: size + 12, root: tree.root.toString('hex') })
  })

  test('cannot be changed in the database', async () => {
    const { db } = world.ctx
    await append(['kept'])
    for (const statement of [
      sql`update log_entry set data = 'other' where no = 0`,
      sql`delete from log_entry where no = 0`,
      sql`update log_node set no = no + 1`,
      sql`delete from log_node`,
    ]) {
      await expect(statement.execute(db)).rejects.toThrow('append-only')
    }
  })

  test('takes back what its transaction takes back', async () => {
    const before = await logHead(world.ctx.db)
    const failing = inTransaction(world.ctx.db, async (tx) => {
      await appendEntries(tx, [entry('lost')], world.ctx.clock.now())
      throw new Error('no')
    })
    await expect(failing).rejects.toThrow('no')
    expect(await logHead(world.ctx.db)).toEqual(before)
  })

  test('gets everything that was published, by the worker, once', async () => {
    // Fewer at a time than were published at one instant.
    const [worker] = transparencyWorkers(world.ctx, { batchSize: 2 })
    const { signal } = new AbortController()
    const drain = async () => {
      while (await worker?.step(signal));
    }
    await drain()
    const texts = (await readAll()).map(({ data }) => data)
    for (const role of ['root', 'targets', 'snapshot', 'timestamp', 'fw-gate-2']) {
      expect(texts.some((data) => data.includes(`"role":"${role}"`))).toBe(true)
    }
    expect(texts.filter((data) => data.includes('"repository":"director"'))).toHaveLength(1)
    const { size } = await logHead(world.ctx.db)
    await drain()
    expect((await logHead(world.ctx.db)).size).toBe(size)
  })
})

describe('proofs over REST', () => {
  test('agree with the heads, for a reader', async () => {
    const { key } = { key: world.api.keys.viewer.secret }
    await append(['rest 1', 'rest 2'])
    const before = await logHead(world.ctx.db)
    await append(['rest 3', 'rest 4', 'rest 5'])
    const path = `/log/consistency?from=${before.size}`
    const { body } = await world.api.call('GET', path, undefined, { key })
    const { from, to, proof } = body as never as {
      from: { size: number; root: string }
      to: { size: number; root: string }
      proof: string[]
    }
    expect(from).toEqual(before)
    expect(to).toEqual((await world.api.call('GET', '/log', undefined, { key })).body)
    const shown = { included: {}, consistent: { [from.size]: proof } }
    expect(showsConsistent(from, to, shown)).toBe(true)
    expect(showsConsistent({ ...from, root: to.root }, to, shown)).toBe(false)

    const leaf = leafOf(entry('rest 4'))
    const found = await world.api.call('GET', `/log/inclusion/${leaf}`, undefined, { key })
    const { no, proof: inclusion } = found.body as never as { no: number; proof: string[] }
    expect(
      showsIncluded(leaf, to, { included: { [leaf]: { no, path: inclusion } }, consistent: {} }),
    ).toBe(true)
    const first = await world.api.call('GET', '/log/entries?limit=1', undefined, { key })
    expect(first.body['items']).toHaveLength(1)
  })

  test('of what is not there are refused', async () => {
    expect((await world.api.call('GET', '/log/consistency?from=99999999')).status).toBe(404)
    expect((await world.api.call('GET', `/log/inclusion/${'0'.repeat(64)}`)).status).toBe(404)
    expect((await world.api.call('GET', '/log/consistency?from=0')).status).toBe(400)
  })
})

test('a long log: proofs stay short and a few look-ups, and appending needs its edge only', async () => {
  const count = Number(process.env['LOG_ENTRIES'] ?? 5_000)
  for (let at = 0; at < count; at += 5_000) {
    await append(Array.from({ length: Math.min(5_000, count - at) }, (_, n) => `long ${at + n}`))
  }
  const { size } = await logHead(world.ctx.db)
  const leaf = leafOf(entry('long 17'))
  const question = { leaves: [leaf], sizes: [Math.floor(size / 3)] }
  let answer: Awaited<ReturnType<typeof proofsFor<typeof question>>> | undefined
  const statements = await world.counter.during(async () => {
    answer = await proofsFor(world.ctx.db, [question])
  })
  expect(statements).toBe(3)
  const proofs = answer?.proofs.get(question)
  const head = answer?.head
  if (!proofs || !head) throw new Error('no proofs')
  expect(showsIncluded(leaf, head, proofs)).toBe(true)
  const older = await headAt(world.ctx.db, Math.floor(size / 3))
  expect(older && showsConsistent(older, head, proofs)).toBe(true)
  const longest = Math.ceil(Math.log2(size)) + 1
  expect(proofs.included[leaf]?.path.length).toBeLessThanOrEqual(longest)
  expect(await world.counter.during(() => append(['last']))).toBeLessThanOrEqual(5)
}, 600_000)
