import { expect, test } from 'vitest'
import { z } from 'zod'

import { toPem } from '../../pki/pem.ts'
import { registerClaim } from '../../server/enrollment/claims.ts'
import { flushEvents } from '../../server/events/record.ts'
import { newId } from '../../server/ids.ts'
import { createTestDatabase } from '../support/database.ts'
import { base64Lines, estClient, listenForDevices } from '../support/est-client.ts'
import { by, createIdentityWorld, newRequest, unique } from '../support/identity-world.ts'
import { createManufacturer, type Held, heldPem } from '../support/manufacturer.ts'

test('whoever shows wrong ones at an address locks out no device behind it that has a right one', async () => {
  await using handle = await createTestDatabase()
  await using world = await createIdentityWorld(handle)
  const { ctx } = world
  await using listeners = await listenForDevices(ctx)
  const est = estClient(ctx, listeners.device.port)
  const maker = await createManufacturer()
  const profile = await world.givenProfile({ auth: { type: 'claim' } })
  const [claim, stranger] = [await maker.claim(), await maker.claim()]
  await registerClaim(ctx, {
    id: newId(ctx.clock.now()),
    profileId: profile.id,
    certificate: toPem('CERTIFICATE', claim.der),
    maxUses: 5,
    expiresAt: undefined,
    ...by,
  })
  const enroll = async (held: Held) => {
    const body = base64Lines(newRequest(unique('SN')).csr)
    return await est({ path: `${profile.name}/simpleenroll`, body, tls: heldPem(held) })
  }
  const wrong = async () => (await enroll(stranger)).status
  const answers = []
  for (let n = 0; n < 25; n += 1) answers.push(await wrong())
  expect(new Set(answers)).toEqual(new Set([403, 429]))
  expect(answers.at(-1)).toBe(429)
  expect((await enroll(claim)).status).toBe(200)
  expect(await wrong()).toBe(429)
  ctx.clock.advance({ seconds: 61 })
  expect(await wrong()).toBe(403)
})

test('what is right opens a profile from its networks only, and what is refused is told of', async () => {
  await using handle = await createTestDatabase()
  await using world = await createIdentityWorld(handle)
  const { ctx } = world
  await using listeners = await listenForDevices(ctx)
  const est = estClient(ctx, listeners.device.port)
  const maker = await createManufacturer()
  const enroll = async (sourceNetworks: string[]) => {
    const line = await world.givenProfile({ sourceNetworks })
    const token = await world.givenToken(line.id)
    const body = base64Lines(newRequest(unique('SN')).csr)
    const answer = await est({ path: 'simpleenroll', user: line.name, token, body })
    return { line, answer }
  }
  expect((await enroll(['127.0.0.0/8', '::1/128'])).answer.status).toBe(200)
  const { line, answer } = await enroll(['192.0.2.0/24'])
  expect([answer.status, answer.text]).toEqual([403, expect.stringContaining('network')])
  // A certificate is bound to them as well.
  const auth = { type: 'certificate' as const, trustAnchors: [maker.pem.root] }
  const away = await world.givenProfile({ auth, sourceNetworks: ['192.0.2.0/24'] })
  const body = base64Lines(newRequest('SN-1').csr)
  const path = `${away.name}/simpleenroll`
  const tls = heldPem(await maker.idevid('SN-1'))
  expect((await est({ path, body, tls })).status).toBe(403)
  await flushEvents(ctx)
  const events = await ctx.db
    .selectFrom('security_event')
    .select('facts')
    .where('kind', '=', 'enrollment-refused')
    .execute()
  // In no order: they may be of one moment.
  const reasons = events.map(({ facts }) => {
    const { profile, reason } = z.object({ profile: z.string(), reason: z.string() }).parse(facts)
    return `${profile} ${reason}`
  })
  const expected = [line, away].map(({ name }) => `${name} source-network`)
  expect(new Set(reasons)).toEqual(new Set(expected))
})
