import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { decideRequest } from '../../server/enrollment/approval.ts'
import { rewrapWebhookSecrets } from '../../server/enrollment/rewrap.ts'
import { getProfile } from '../../server/enrollment/store.ts'
import { askWebhook, webhookSecret } from '../../server/enrollment/webhook.ts'
import { isPrivateAddress } from '../../server/webhooks/address.ts'
import { createEmbeddedDatabase } from '../support/database.ts'
import {
  createIdentityWorld,
  type IdentityWorld,
  newRequest,
  unique,
} from '../support/identity-world.ts'

interface Call {
  headers: IncomingMessage['headers']
  body: string
  path: string
}

let handle: DatabaseHandle
let world: IdentityWorld
let url: string
let calls: Call[] = []
let answer: (res: ServerResponse) => void

const server = createServer((req, res) => {
  const chunks: Buffer[] = []
  req.on('data', (chunk: Buffer) => chunks.push(chunk))
  req.on('end', () => {
    const body = Buffer.concat(chunks).toString('utf8')
    calls.push({ headers: req.headers, body, path: req.url ?? '' })
    answer(res)
  })
})

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  url = `http://localhost:${typeof address === 'object' ? address?.port : 0}/hook`
  handle = await createEmbeddedDatabase()
  world = await createIdentityWorld(handle, { FLEETSEAL_WEBHOOK_PRIVATE: 'allow' })
})
afterAll(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})
beforeEach(() => {
  calls = []
  answer = say(200, '{"decision":"allow"}')
})

const say = (status: number, body: string, headers: Record<string, string> = {}) => {
  return (res: ServerResponse) => void res.writeHead(status, headers).end(body)
}

async function given(body: object = {}) {
  const profile = await world.givenProfile({ webhook: { url }, ...body })
  const token = await world.givenToken(profile.id)
  const serial = unique('SN')
  return { profile, token, serial, csr: newRequest(serial).csr }
}

const refused = { code: 'not-allowed' }

describe('the webhook of an enrollment profile', () => {
  test('is asked once, by a request it can verify', async () => {
    const { profile, token, serial, csr } = await given()
    await world.enrollWith(token, csr)
    // The same request again is answered without asking.
    await world.enrollWith(token, csr)
    expect(calls).toHaveLength(1)
    const [call] = calls
    const { headers = {}, body = '' }: Partial<Call> = call ?? {}
    expect(JSON.parse(body)).toMatchObject({
      type: 'enrollment',
      serialNumber: serial,
      keyAlgorithm: 'P-256',
      profile: { id: profile.id, name: profile.name },
      credential: { kind: 'token' },
    })
    const secret = webhookSecret(world.ctx.kek, await getProfile(world.ctx.db, profile.id)) ?? ''
    const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64')
    const signed = `${headers['webhook-id']?.toString()}.${headers['webhook-timestamp']?.toString()}.${body}`
    const expected = createHmac('sha256', key).update(signed).digest()
    const [version, signature = ''] = String(headers['webhook-signature']).split(',')
    expect(version).toBe('v1')
    expect(timingSafeEqual(Buffer.from(signature, 'base64'), expected)).toBe(true)
    expect(body).not.toContain(token)
  })

  test.each<[string, (res: ServerResponse) => void]>([
    ['a refusal', say(200, '{"decision":"deny","reason":"not ours"}')],
    ['500', say(500, '{"decision":"allow"}')],
    ['204', say(204, '')],
    ['201', say(201, '{"decision":"allow"}')],
    ['a redirect', say(302, '', { Location: '/elsewhere' })],
    ['a redirect that keeps the method', say(307, '', { Location: '/elsewhere' })],
    ['nothing', say(200, '')],
    ['no JSON', say(200, 'allow')],
    ['another word', say(200, '{"decision":"maybe"}')],
    ['a list', say(200, '["allow"]')],
    ['too much', say(200, `{"decision":"allow","reason":"${'x'.repeat(20_000)}"}`)],
    [
      'half an answer',
      (res) =>
        void res
          .writeHead(200, { 'Content-Length': 50 })
          .write('{"decision":"allow"}', () => res.destroy()),
    ],
    ['a broken connection', (res) => void res.destroy()],
  ])('A23 %s refuses the enrollment and costs nothing', async (_what, how) => {
    const { profile, token, csr } = await given()
    answer = how
    await expect(world.enrollWith(token, csr)).rejects.toMatchObject(refused)
    expect(calls.map(({ path }) => path)).toEqual(['/hook'])
    expect((await getProfile(world.ctx.db, profile.id)).used).toBe(0)
    answer = say(200, '{"decision":"allow"}')
    await world.enrollWith(token, csr)
  })
})

describe('a webhook that cannot be asked', () => {
  const question = {
    serialNumber: 'SN',
    keySha256: '00',
    keyAlgorithm: 'P-256',
    credential: { id: 'x', kind: 'token' },
  }

  test('A23 no answer in time refuses', async () => {
    const { profile } = await given()
    const row = await getProfile(world.ctx.db, profile.id)
    answer = () => {}
    await expect(askWebhook(world.ctx, row, question, 50)).rejects.toMatchObject(refused)
    // A head without an end is no answer either.
    answer = (res) => void res.writeHead(200).write('{')
    await expect(askWebhook(world.ctx, row, question, 50)).rejects.toMatchObject(refused)
  })

  test('A23 nobody there, or a name that nobody has, refuses', async () => {
    for (const where of ['http://127.0.0.1:1/', 'https://name.invalid/']) {
      const { token, csr } = await given({ webhook: { url: where } })
      await expect(world.enrollWith(token, csr)).rejects.toMatchObject(refused)
    }
  })

  test('is not called inside, also by a name that leads there', async () => {
    const { profile } = await given()
    const row = await getProfile(world.ctx.db, profile.id)
    const strict = { ...world.ctx, config: { privateWebhooks: false } }
    for (const place of [url, 'https://localhost/', 'https://127.0.0.1/', 'https://[::1]/']) {
      const to = { ...row, webhook_url: place }
      await expect(askWebhook(strict, to, question)).rejects.toMatchObject(refused)
    }
    expect(calls).toEqual([])
  })

  test('what is inside', () => {
    const inside = ['127.0.0.1', '10.0.0.1', '172.31.0.1', '192.168.1.1', '169.254.169.254']
    const inside6 = [
      '::1',
      'fe80::1',
      'fd00::1',
      '::ffff:10.0.0.1',
      '64:ff9b::a00:1',
      '2002:a00:1::',
    ]
    const nothing = ['0.0.0.0', '100.64.0.1', '224.0.0.1', '255.255.255.255', '::', 'localhost', '']
    const outside = ['8.8.8.8', '172.32.0.1', '2606:4700::1111']
    expect([...inside, ...inside6, ...nothing].filter((one) => !isPrivateAddress(one))).toEqual([])
    expect(outside.filter(isPrivateAddress)).toEqual([])
  })
})

test('its secret survives a change of the key-encryption key', async () => {
  const { profile } = await given()
  const { db, kek } = world.ctx
  const next = randomBytes(32)
  const before = webhookSecret(kek, await getProfile(db, profile.id))
  await inTransaction(db, (tx) => rewrapWebhookSecrets(tx, kek, next))
  const row = await getProfile(db, profile.id)
  expect(webhookSecret(next, row)).toBe(before)
  expect(() => webhookSecret(kek, row)).toThrow()
  await inTransaction(db, (tx) => rewrapWebhookSecrets(tx, next, kek))
})

describe('the webhook and other rules', () => {
  test('what is refused anyway is not asked about', async () => {
    const { token } = await given({ idPattern: '^\\d+$', keyPolicy: ['P-256'] })
    const bad = [newRequest('letters').csr, newRequest('123', { algorithm: 'P-384' }).csr]
    for (const csr of bad) {
      await expect(world.enrollWith(token, csr)).rejects.toMatchObject(refused)
    }
    const closed = await given({ quota: 0 })
    await expect(world.enrollWith(closed.token, closed.csr)).rejects.toMatchObject({
      code: 'quota-exhausted',
    })
    expect(calls).toEqual([])
  })

  test('a request that waits for a person was let through to wait, and is asked about when it is granted', async () => {
    const { profile, token, csr } = await given({ approval: 'manual' })
    for (let n = 0; n < 3; n++) {
      await expect(world.enrollWith(token, csr)).rejects.toMatchObject({ code: 'not-ready' })
    }
    expect(calls).toHaveLength(1)
    const { id } = await world.ctx.db
      .selectFrom('enrollment_request')
      .select('id')
      .where('profile_id', '=', profile.id)
      .executeTakeFirstOrThrow()
    const decision = { id, action: 'approve' as const, reason: undefined }
    await decideRequest(world.ctx, { ...decision, by: { id: 'key:test', requestId: 'test' } })
    answer = say(200, '{"decision":"deny"}')
    await expect(world.enrollWith(token, csr)).rejects.toMatchObject(refused)
    answer = say(200, '{"decision":"allow"}')
    await world.enrollWith(token, csr)
  })
})
