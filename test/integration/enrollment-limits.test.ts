import { describe, expect, test } from 'vitest'

import { actOnProfile } from '../../server/enrollment/service.ts'
import { NewProfileBody } from '../../server/enrollment/wire.ts'
import { newId } from '../../server/ids.ts'
import { startApi } from '../support/api.ts'
import { by, newRequest, unique } from '../support/identity-world.ts'
import { createWorlds, kinds } from '../support/two-worlds.ts'

const worldOn = createWorlds()

describe.each(kinds)('limits of an enrollment profile on %s', (kind) => {
  test('so many in an hour, however many come at once, alone and in groups', async () => {
    const { world } = worldOn(kind)
    const { ctx } = world
    const profile = await world.givenProfile({ quotaPerHour: 3 })
    const token = await world.givenToken(profile.id)
    const come = async (count: number) => {
      const asked = Array.from({ length: count }, async () => {
        return await world.enrollWith(token, newRequest(unique('SN')).csr)
      })
      const results = await Promise.allSettled(asked)
      const refused = results.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
      for (const reason of refused) {
        expect(reason).toMatchObject({
          code: 'rate-limited',
          facts: { retryAfterSeconds: expect.any(Number) as unknown },
        })
      }
      return results.length - refused.length
    }
    expect(await come(2)).toBe(2)
    expect(await come(5)).toBe(1)
    ctx.clock.advance({ seconds: 3_590 })
    expect(await come(1)).toBe(0)
    ctx.clock.advance({ seconds: 11 })
    expect(await come(6)).toBe(3)
    ctx.clock.advance({ seconds: 3_601 })
    expect(await come(1)).toBe(1)
    // The honest twin: without a limit all of them.
    const free = await world.givenProfile()
    const open = await world.givenToken(free.id)
    await Promise.all([1, 2, 3, 4].map(() => world.enrollWith(open, newRequest(unique('SN')).csr)))
  })
})

describe.each(kinds)('a profile that is paused, on %s', (kind) => {
  test('a paused one lets nobody in, whatever way, and is audited; what was answered is answered again', async () => {
    const { world } = worldOn(kind)
    const { ctx } = world
    const profile = await world.givenProfile()
    const token = await world.givenToken(profile.id)
    const before = newRequest(unique('SN')).csr
    const der = await world.enrollWith(token, before)
    const act = async (action: 'pause' | 'resume') =>
      await actOnProfile(ctx, { profileId: profile.id, action, reason: 'recall', ...by })
    expect((await act('pause')).paused_at).toEqual((await act('pause')).paused_at)
    const refused = { code: 'not-allowed', message: expect.stringContaining('paused') as unknown }
    const two = [1, 2].map(() => world.enrollWith(token, newRequest(unique('SN')).csr))
    for (const one of await Promise.allSettled(two)) {
      expect(one).toMatchObject({ status: 'rejected', reason: refused })
    }
    expect(await world.enrollWith(token, before)).toEqual(der)
    expect((await act('resume')).paused_at).toBeNull()
    await world.enrollWith(token, newRequest(unique('SN')).csr)
    const audit = await ctx.db
      .selectFrom('audit_event')
      .select(['action', 'facts'])
      .where('subject', '=', profile.id)
      .where('action', 'in', ['enrollment-profile.pause', 'enrollment-profile.resume'])
      .orderBy('seq')
      .execute()
    expect(audit).toMatchObject([
      { action: 'enrollment-profile.pause', facts: { reason: 'recall' } },
      { action: 'enrollment-profile.resume' },
    ])
    const none = newId(ctx.clock.now())
    await expect(
      actOnProfile(ctx, { profileId: none, action: 'pause', ...by }),
    ).rejects.toMatchObject({ code: 'not-found' })
  })

  test('over REST: shown, paused and resumed; networks are CIDR', async () => {
    const { handle, world } = worldOn(kind)
    await using api = await startApi(handle, world.ctx)
    const groupId = await world.givenGroup()
    const line = { groupId, auth: { type: 'token' }, registration: 'just-in-time' }
    const limits = { quotaPerHour: 5, sourceNetworks: ['10.0.0.0/8', '2001:db8::/32'] }
    const body = { ...line, ...limits, name: unique('line') }
    const made = await api.call('POST', '/enrollment-profiles', body)
    expect(made.body).toMatchObject({ ...limits, pausedAt: null })
    const path = `/enrollment-profiles/${String(made.body['id'])}/actions`
    const paused = await api.call('POST', path, { action: 'pause' })
    expect(paused.body['pausedAt']).toEqual(expect.any(String))
    expect((await api.call('POST', path, { action: 'resume' })).body['pausedAt']).toBeNull()
    expect((await api.call('POST', path, { action: 'close' })).status).toBe(400)
    for (const network of ['10.0.0.0', '10.0.0.0/33', 'lab', '300.0.0.0/8']) {
      expect(NewProfileBody.safeParse({ ...body, sourceNetworks: [network] }).success).toBe(false)
    }
  })
})
