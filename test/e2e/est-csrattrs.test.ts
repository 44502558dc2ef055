import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { oids } from '../../pki/der/oids.ts'
import { readCsrAttributes } from '../../pki/est/csr-attributes.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  base64Lines,
  type EstAnswer,
  type EstCall,
  estClient,
  listenForDevices,
} from '../support/est-client.ts'
import {
  createIdentityWorld,
  type IdentityWorld,
  newRequest,
  unique,
} from '../support/identity-world.ts'
import { rawClient } from '../support/raw-client.ts'

let handle: DatabaseHandle
let world: IdentityWorld
let listeners: Awaited<ReturnType<typeof listenForDevices>>
let est: (call: EstCall) => Promise<EstAnswer>
let raw: ReturnType<typeof rawClient>

beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  listeners = await listenForDevices(world.ctx)
  est = estClient(world.ctx, listeners.device.port)
  raw = rawClient(world.ctx, listeners.device.port)
})
afterAll(async () => {
  await listeners[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

/** RFC 8951 Appendix A: challengePassword, extensionRequest with macAddress, secp384r1, ecdsa-with-SHA384. */
const vector =
  'MEEGCSqGSIb3DQEJBzASBgcqhkjOPQIBMQcGBSuBBAAiMBYGCSqGSIb3DQEJDjEJBgcrBgEBAQEWBggqhkjOPQQDAw=='

describe('E15 csrattrs', () => {
  test('the RFC 8951 vector, byte for byte, under the label and to the devices of the line', async () => {
    const profile = await world.givenProfile()
    await world.givenEstPolicy(profile.id, { csrAttributes: vector })
    const answer = await est({ path: `${profile.name}/csrattrs` })
    expect(answer.status).toBe(200)
    expect(answer.headers['content-type']).toBe('application/csrattrs')
    expect(answer.headers['content-length']).toBe(String(answer.text.length))
    expect(answer.text.replaceAll('\n', '')).toBe(vector)
    expect(answer.text.split('\n').every((line) => line.length <= 64)).toBe(true)
    const device = await world.givenDevice({ profile })
    expect((await est({ path: 'csrattrs', client: device })).text).toBe(answer.text)
    const head = await est({ path: `${profile.name}/csrattrs`, method: 'HEAD' })
    expect([head.status, head.text]).toEqual([200, ''])
  })

  test('none is 204, an empty SEQUENCE is itself', async () => {
    const none = await world.givenProfile()
    for (const path of ['csrattrs', `${none.name}/csrattrs`]) {
      const answer = await est({ path })
      expect([answer.status, answer.text, answer.headers['content-type']]).toEqual([
        204,
        '',
        undefined,
      ])
    }
    await world.givenEstPolicy(none.id, { csrAttributes: 'MAA=' })
    expect((await est({ path: `${none.name}/csrattrs` })).text).toBe('MAA=\n')
  })

  test('what is not a CsrAttrs, or lacks what is required, cannot be set', async () => {
    const { id } = await world.givenProfile()
    for (const csrAttributes of ['MAE=', 'AAAA', 'BAIBAg==']) {
      await expect(world.givenEstPolicy(id, { csrAttributes })).rejects.toMatchObject({
        code: 'invalid-request',
      })
    }
    const body = { csrAttributes: 'MAA=', channelBinding: 'required' } as const
    await expect(world.givenEstPolicy(id, body)).rejects.toThrow(/challengePassword/)
    await world.givenEstPolicy(id, { ...body, csrAttributes: vector })
  })
})

describe('E18 where the binding of the connection is required', () => {
  test('csrattrs asks for it, a request without it is refused, with it is granted', async () => {
    const profile = await world.givenProfile()
    const device = await world.givenDevice({ profile })
    await world.givenEstPolicy(profile.id, {
      renewal: { opensPercent: 0 },
      channelBinding: 'required',
    })
    const { text } = await est({ path: `${profile.name}/csrattrs` })
    expect(readCsrAttributes(Buffer.from(text, 'base64'))).toEqual([
      { kind: 'oid', oid: oids.challengePassword },
    ])
    const token = await world.givenToken(profile.id)
    const { csr } = newRequest(unique('SN'))
    const call = { path: 'simpleenroll', user: profile.name, token, body: base64Lines(csr) }
    const refused = await est(call)
    expect([refused.status, refused.text]).toEqual([
      400,
      expect.stringMatching(/challengePassword/),
    ])
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const statuses = await raw.linked(device, version, (binding) => binding)
      expect(new Set(statuses)).toEqual(new Set([200]))
    }
  })
})
