import { beforeAll, describe, expect, test } from 'vitest'

import { generatePrivateKey } from '../../pki/keys.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { keyAlgorithms } from '../../server/enrollment/state.ts'
import {
  type IdentityWorld,
  newRequest,
  unique,
  type WorldContext,
} from '../support/identity-world.ts'
import { createWorlds, kinds } from '../support/two-worlds.ts'

let world: IdentityWorld
let ctx: WorldContext
const worldOn = createWorlds()

describe.each(kinds)('tokens and keys on %s', (kind) => {
  beforeAll(() => {
    ;({ world } = worldOn(kind))
    ctx = world.ctx
  })

  test('A21 a token of one use, shown to two processes at once, enrolls one device', async () => {
    const profile = await world.givenProfile()
    const token = await world.givenToken(profile.id, { maxUses: 1 })
    const other = await world.another()
    const results = await Promise.allSettled(
      [ctx, other, ctx, other].map(
        async (process) => await world.enrollWith(token, newRequest(unique('SN')).csr, process),
      ),
    )
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    for (const result of results) {
      if (result.status === 'rejected')
        expect(result.reason).toMatchObject({ code: 'quota-exhausted' })
    }
    const devices = await ctx.db
      .selectFrom('device')
      .select('id')
      .where('enrollment_profile_id', '=', profile.id)
      .execute()
    expect(devices).toHaveLength(1)
  })

  test('A21 a request that was answered by one process is answered the same by another, and by no other profile', async () => {
    const profile = await world.givenProfile()
    const token = await world.givenToken(profile.id, { maxUses: 1 })
    const other = await world.another()
    const { csr } = newRequest(unique('SN'))
    const der = await world.enrollWith(token, csr)
    expect(await world.enrollWith(token, csr, other)).toEqual(der)
    const stranger = await world.givenToken((await world.givenProfile()).id)
    await expect(world.enrollWith(stranger, csr, other)).rejects.toMatchObject({
      code: 'not-allowed',
    })
  })

  test.each([['ML-DSA-44' as const], ['ML-DSA-65' as const], ['ML-DSA-87' as const]])(
    'a profile can require %s',
    async (algorithm) => {
      const profile = await world.givenProfile({ keyPolicy: [algorithm] })
      const token = await world.givenToken(profile.id)
      const serial = unique('SN')
      const { csr, key } = newRequest(serial, { algorithm })
      for (const other of keyAlgorithms) {
        if (other === algorithm || other.startsWith('RSA')) continue
        const refused = newRequest(serial, { key: generatePrivateKey(other) })
        await expect(world.enrollWith(token, refused.csr)).rejects.toMatchObject({
          code: 'not-allowed',
        })
      }
      const certificate = parseCertificate(await world.enrollWith(token, csr))
      expect(key.asymmetricKeyType).toBe(algorithm.toLowerCase())
      expect([...(certificate.keyUsage ?? [])]).toEqual(['digitalSignature'])
    },
  )
})
