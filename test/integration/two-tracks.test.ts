import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { createTestDatabase } from '../support/database.ts'
import { ReleaseWorld } from '../support/release-world.ts'
import { newBuild } from '../support/rollout-given.ts'
import { deploymentIdOf, deploymentOf, hello, report } from '../support/rollout-messages.ts'
import {
  act,
  givenDevices,
  givenGroup,
  givenRelease,
  givenRollout,
  installedBuild,
  rolloutWorld,
  type RolloutWorld,
} from '../support/rollout-world.ts'

let handle: DatabaseHandle
let releases: ReleaseWorld
let world: RolloutWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  releases = await ReleaseWorld.ready(handle)
  world = rolloutWorld(handle)
})
afterAll(async () => {
  await releases[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

describe('a release that says it is a fix', () => {
  let build = 1_000
  const post = async (changes: Record<string, unknown>) => {
    build += 1
    const body = await releases.releaseBody({ build, mixedReason: undefined, ...changes })
    return await releases.api.call('POST', '/releases', body)
  }
  const advisory = { id: 'FS-1', severity: 'high', url: '/a/1', text: 'Close the door.' }

  test.each([
    ['what it fixes', { fixes: [] }, 'fixes'],
    ['an advisory', { advisory: undefined }, 'advisory'],
    ['a text in its advisory', { advisory: { ...advisory, text: ' \n' } }, 'advisory.text'],
  ])('102 is refused without %s, and taken with it', async (_what, without, at) => {
    const component = `c${build}`
    const refused = await post({ component, ...without })
    expect(refused).toMatchObject({ status: 400, body: { code: 'invalid-request', at } })
    expect(await post({ component, advisory })).toMatchObject({ status: 201 })
  })

  test('103 stays on a line that is published or installed; a feature begins one', async () => {
    await releases.publishRelease({ component: 'lines', version: '2.4.1', build: 1 })
    const group = await givenGroup(world)
    const runs = [installedBuild(1, { component: 'lines', version: '2.3.9' })]
    await givenDevices(world, group, 1, { installed: runs })
    const on = { component: 'lines' }
    const refused = await post({ ...on, version: '2.5.0' })
    expect(refused).toMatchObject({
      status: 409,
      body: { code: 'conflict', line: '2.5', lines: ['2.4', '2.3'] },
    })
    expect(refused.body['detail']).toMatch(/belongs on 2\.4, 2\.3, or says with mixedReason/)
    expect(await post({ ...on, version: '2.4.2' })).toMatchObject({ status: 201 })
    expect(await post({ ...on, version: '2.3.10' })).toMatchObject({ status: 201 })
    const feature = { class: 'feature', fixes: [], advisory: undefined }
    expect(await post({ ...on, ...feature, version: '2.5.1' })).toMatchObject({ status: 201 })
  })

  test('mixed with features says why, and the reason is kept', async () => {
    await releases.publishRelease({ component: 'mixed', version: '1.0.0', build: 1 })
    const on = { component: 'mixed', version: '2.0.0' }
    const mixedReason = { kind: 'fix_is_functional_change', text: 'The old pairing is the hole.' }
    expect((await post(on)).status).toBe(409)
    expect(await post({ ...on, mixedReason })).toMatchObject({ status: 201, body: { mixedReason } })
    const feature = { class: 'feature', fixes: [], advisory: undefined, mixedReason }
    const refused = await post({ component: 'mixed', version: '3.0.0', ...feature })
    expect(refused).toMatchObject({ status: 400, body: { at: 'mixedReason' } })
    const rows = await handle.db
      .selectFrom('audit_event')
      .select('facts')
      .where('action', '=', 'release.create')
      .execute()
    const kept = rows.filter(({ facts }) => JSON.stringify(facts).includes(mixedReason.text))
    expect(kept).toHaveLength(1)
  })
})

describe('which devices get it', () => {
  const device = async (group: string, version: string, build: number) => {
    const [id = ''] = await givenDevices(world, group, 1, {
      installed: [installedBuild(build, { version })],
    })
    return id
  }
  const rollout = async (group: string, number: string, kind: 'security' | 'feature') => {
    const build = newBuild()
    // Each test makes the same numbers, and a version is there once.
    const version = `${number}+${build}`
    const release = await givenRelease(world, { build, version, class: kind })
    const id = await givenRollout(world, group, release.id)
    await act(world, id, 'start')
    return { ...release, id }
  }

  test('103 2.4.2 reaches the owner who declined 2.5.0, and not the one who took it', async () => {
    const group = await givenGroup(world)
    const declines = await device(group, '2.4.1', 10)
    const takes = await device(group, '2.4.1', 10)
    const feature = await rollout(group, '2.5.0', 'feature')
    expect(await meetDevices(world.ctx, [declines, takes])).toHaveLength(2)
    await report(world, declines, await deploymentIdOf(world, feature.id, declines), 'opted_out')
    await report(world, takes, await deploymentIdOf(world, feature.id, takes), 'testing')
    await hello(world, takes, {
      installed: [installedBuild(feature.build, { version: '2.5.0', sha256: feature.sha256 })],
    })
    // Made later, so its build is higher than that of 2.5.0.
    const fix = await rollout(group, '2.4.2', 'security')
    expect(await meetDevices(world.ctx, [declines, takes])).toEqual([declines])
    expect(await deploymentOf(world, fix.id, declines)).toMatchObject({ state: 'queued' })
    expect(await deploymentOf(world, feature.id, declines)).toMatchObject({ state: 'superseded' })
    expect(await deploymentOf(world, fix.id, takes)).toBeUndefined()
  })

  test('a feature that is made later does not take the place of a fix', async () => {
    const group = await givenGroup(world)
    const id = await device(group, '2.4.1', 10)
    const fix = await rollout(group, '2.4.2', 'security')
    await meetDevices(world.ctx, [id])
    await rollout(group, '2.5.0', 'feature')
    expect(await meetDevices(world.ctx, [id])).toEqual([])
    expect(await deploymentOf(world, fix.id, id)).toMatchObject({ state: 'queued' })
    const next = await rollout(group, '2.4.3', 'security')
    expect(await meetDevices(world.ctx, [id])).toEqual([id])
    expect(await deploymentOf(world, next.id, id)).toMatchObject({ state: 'queued' })
  })

  test('the fix on its own line comes before the one that brings features', async () => {
    const group = await givenGroup(world)
    const id = await device(group, '2.4.1', 10)
    const other = await device(group, '2.5.0', 11)
    const ahead = await rollout(group, '2.5.1', 'security')
    const own = await rollout(group, '2.4.2', 'security')
    expect(await meetDevices(world.ctx, [id, other])).toHaveLength(2)
    expect(await deploymentOf(world, own.id, id)).toBeDefined()
    expect(await deploymentOf(world, ahead.id, other)).toBeDefined()
  })
})

describe('the policy of a model', () => {
  const put = async (body: Record<string, unknown>) => {
    return await releases.api.call('PUT', '/models/gate-2/policy', body)
  }
  const offered = async (changes: Record<string, unknown>, installed?: object[]) => {
    const release = await releases.publishRelease({ component: 'p', ...changes })
    const target = await releases.device()
    if (installed) {
      await handle.db
        .updateTable('device')
        .set({ installed: JSON.stringify(installed) })
        .where('id', '=', target.id)
        .execute()
    }
    await releases.deploy(target.id, release)
    target.facts.components['p'] = { build: 0, svn: 0 }
    return (await target.poll()).policy
  }

  test('without automatic security updates needs a justification', async () => {
    const refused = await put({ autoSecurity: false })
    expect(refused).toMatchObject({ status: 409, body: { at: 'justification' } })
    expect((await put({ autoUpdateApplicability: 'industrial' })).status).toBe(409)
    const justification = 'Runs a press; a restart stops the line.'
    const taken = await put({ autoUpdateApplicability: 'industrial', justification })
    expect(taken).toMatchObject({ status: 200, body: { policy: { autoSecurity: false } } })
    const asked = await offered({ version: '1.0.0', build: 1 })
    expect(asked).toMatchObject({ auto: false, consent: 'download+install' })
    expect(await put({})).toMatchObject({ body: { policy: { autoSecurity: true } } })
    expect(await offered({ version: '1.0.1', build: 2 })).toMatchObject({ auto: true })
  })

  test('names the bounds of postponing and the quiet hours', async () => {
    const security = { eachH: 24, graceH: 12, maxCount: 3, totalH: 72 }
    expect((await put({ postpone: { security }, quiet: ['22:00-06:00'] })).status).toBe(200)
    expect(await offered({ version: '1.0.2', build: 3 })).toMatchObject({
      postpone: security,
      quiet: ['22:00-06:00'],
    })
    expect((await put({ postpone: { security: { ...security, eachH: 0 } } })).status).toBe(400)
    expect((await put({ quiet: ['at night'] })).status).toBe(400)
  })

  test('a fix that leaves the line of a device is asked for, unless a reason says it must', async () => {
    await put({})
    const runs = [{ component: 'p', version: '1.0.2', build: 3, svn: 0, sha256: '0'.repeat(64) }]
    await releases.publishRelease({ component: 'p', class: 'feature', version: '1.1.0', build: 4 })
    const fix = { mixedReason: undefined, version: '1.1.1', build: 5 }
    expect(await offered(fix, runs)).toMatchObject({ class: 'security', auto: false })
    expect(await offered({ version: '1.2.0', build: 6 }, runs)).toMatchObject({ auto: true })
  })

  test('the words for the owner travel with the offer, in any language', async () => {
    const text = 'Angreifer konnten die T\u00fcr \u201e\u00f6ffnen\u201c.\nDas ist behoben.'
    const advisory = { id: 'FS-9', severity: 'high', url: '/a/9', text, action: 'Neu starten.' }
    const policy = await offered({ version: '1.2.1', build: 7, advisory })
    expect(decodeURIComponent(policy?.notice?.text ?? '')).toBe(text)
    expect(policy?.notice).toMatchObject({ action: 'Neu starten.' })
  })
})
