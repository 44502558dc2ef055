import { expect, test } from 'vitest'

import { toPem } from '../../pki/pem.ts'
import { registerClaim } from '../../server/enrollment/claims.ts'
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
