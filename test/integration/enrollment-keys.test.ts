import { expect, test } from 'vitest'

import { generatePrivateKey, spkiOf } from '../../pki/keys.ts'
import { revokeCertificate } from '../../server/certificates/revocation.ts'
import { newId } from '../../server/ids.ts'
import { newRequest, unique } from '../support/identity-world.ts'
import { makeRoot, rawTbs, signRaw } from '../support/pki-fixture.ts'
import { createWorlds, kinds } from '../support/two-worlds.ts'

const worldOn = createWorlds()

test.each(kinds)(
  'C16 on %s: a key of another device, of an authority, or one that was compromised',
  async (kind) => {
    const { world } = worldOn(kind)
    const { ctx } = world
    const profile = await world.givenProfile({ replaceable: 'on' })
    const other = await world.givenDevice()
    const lost = await world.givenDevice({ profile })
    const key = generatePrivateKey('P-256')
    const authority = await makeRoot('P-256')
    const certificate = await signRaw(rawTbs(authority, { spki: spkiOf(key) }), authority)
    await ctx.db
      .insertInto('authority')
      .values({
        id: newId(ctx.clock.now()),
        purpose: 'devices',
        name: 'of long ago',
        state: 'retired',
        issuer_id: ctx.authorities.root.id,
        certificate,
        wrapped_key: null,
        created_at: ctx.clock.now(),
        changed_at: ctx.clock.now(),
      })
      .execute()
    const token = await world.givenToken(profile.id)
    const by = { id: 'key:test' }
    const { certificateId, serialNumber } = lost
    await revokeCertificate(ctx, { certificateId, reason: 'keyCompromise', by })
    for (const csr of [
      newRequest(unique('SN'), { key: other.key }).csr,
      newRequest(unique('SN'), { key }).csr,
      newRequest(serialNumber, { key: lost.key }).csr,
    ]) {
      await expect(world.enrollWith(token, csr)).rejects.toMatchObject({
        code: 'not-allowed',
        message: expect.stringMatching(/^This key .*: make a new one$/),
      })
    }
    // Also among others, where many are looked at together.
    const crowd = [
      newRequest(unique('SN'), { key }),
      ...[1, 2, 3].map(() => newRequest(unique('SN'))),
    ]
    const results = await Promise.allSettled(crowd.map(({ csr }) => world.enrollWith(token, csr)))
    expect(results.map(({ status }) => status)).toEqual([
      'rejected',
      'fulfilled',
      'fulfilled',
      'fulfilled',
    ])
    // The honest twins: keys that nobody had.
    await world.enrollWith(token, newRequest(unique('SN')).csr)
    await world.enrollWith(token, newRequest(serialNumber).csr)
  },
)
