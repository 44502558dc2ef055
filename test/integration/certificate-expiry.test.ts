import { describe, expect, test } from 'vitest'

import { expiryWorkers, tellOfEnding } from '../../server/enrollment/expiry.ts'
import { actOnDevice } from '../../server/incidents/service.ts'
import { type Enrolled, newRequest, type WorldContext } from '../support/identity-world.ts'
import { createWorlds, kinds } from '../support/two-worlds.ts'

const worldOn = createWorlds()
const day = 86_400

/** What was told, for each device, oldest first. */
async function toldOf(ctx: WorldContext, device: Enrolled) {
  const rows = await ctx.db
    .selectFrom('security_event')
    .select(['severity', 'facts'])
    .where('kind', '=', 'certificate-not-renewed')
    .where('device_id', '=', device.deviceId)
    .orderBy('id')
    .execute()
  return rows.map(({ severity, facts }) => {
    expect(facts).toMatchObject({ certificateId: device.certificateId })
    return severity
  })
}

async function tellAll(ctx: WorldContext) {
  for (let after = await tellOfEnding(ctx); after !== undefined;) {
    after = await tellOfEnding(ctx, after)
  }
}

describe.each(kinds)('devices that do not renew, on %s', (kind) => {
  test('at 20 and at 5 percent of the life that is left, once each, whoever looks', async () => {
    const { world } = worldOn(kind)
    const { ctx } = world
    const profile = await world.givenProfile({ certificateDays: 100, replaceable: 'on' })
    const silent = await world.givenDevice({ profile })
    const renewed = await world.givenDevice({ profile })
    const gone = await world.givenDevice({ profile })
    await actOnDevice(ctx, {
      deviceId: gone.deviceId,
      action: 'retire',
      reason: 'scrapped',
      by: { id: 'key:test' },
    })
    const look = async () => {
      await tellAll(ctx)
      await Promise.all([tellAll(ctx), tellAll({ ...ctx })])
      return await Promise.all([silent, renewed, gone].map((one) => toldOf(ctx, one)))
    }
    const clock = (days: number) => ctx.clock.advance({ seconds: days * day })
    clock(79)
    expect(await look()).toEqual([[], [], []])
    await world.enrollWith(await world.givenToken(profile.id), newRequest(renewed.serialNumber).csr)
    clock(2)
    expect(await look()).toEqual([['warning'], [], []])
    clock(13)
    expect(await look()).toEqual([['warning'], [], []])
    clock(2)
    expect(await look()).toEqual([['warning', 'critical'], [], []])
    clock(60)
    expect(await look()).toEqual([['warning', 'critical'], [], []])
    clock(-156)
  })

  test('one that was never looked at in time is told of once, as critical', async () => {
    const { world } = worldOn(kind)
    const { ctx } = world
    const profile = await world.givenProfile({ certificateDays: 10 })
    const [late, forgotten] = [
      await world.givenDevice({ profile }),
      await world.givenDevice({ profile }),
    ]
    ctx.clock.advance({ seconds: 12 * day })
    const [worker] = expiryWorkers(ctx)
    while (await worker?.step(new AbortController().signal));
    expect(await toldOf(ctx, late)).toEqual(['critical'])
    expect(await toldOf(ctx, forgotten)).toEqual(['critical'])
    ctx.clock.advance({ seconds: -12 * day })
  })
})
