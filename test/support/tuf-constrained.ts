import { expect, test } from 'vitest'

import { tufKeyOf } from '../../pki/tuf/keys.ts'
import { type Pins, verifyConstrained } from '../../pki/tuf/profile-p.ts'
import type { VerifiedBundle } from '../../pki/tuf/types.ts'
import { refusalOf } from './tuf-attack.ts'
import { type Attempt, nonce, World } from './tuf-fixture.ts'

export const path = 'fw/gate-2/2.4.1/main.bin'
export const targetOf = (...rest: (string | number)[]) => ['targets', path, ...rest]

export function pinsOf({ director, release }: World): Pins {
  const raw = (key: Parameters<typeof tufKeyOf>[0] | undefined): string => {
    if (!key) throw new Error('No key')
    return tufKeyOf(key).keyval.public
  }
  return {
    directorTargets: raw(director.keys.targets[0]),
    directorSnapshot: raw(director.keys.snapshot[0]),
    directorTimestamp: raw(director.keys.timestamp[0]),
    release: [raw(release[0]), raw(release[1])],
  }
}

/** The device of these tests has one component and the keys that the world began with. */
export function start(): { world: World; verify: (attempt?: Attempt) => VerifiedBundle } {
  const world = World.honest()
  const pins = pinsOf(world)
  const verify = ({
    state = world.factoryState(),
    bundle = world.bundle(),
    device,
    now = { nonce },
  }: Attempt = {}) => {
    const components = { main: { build: 400, svn: 41 } }
    return verifyConstrained(state, bundle, { ...world.device, components, pins, ...device }, now)
  }
  return { world, verify }
}

type Story = (world: World) => Attempt | void

/** The attack is refused with its code, and its honest twin installs. */
export function attackOnP(
  name: string,
  code: string,
  { evil, twin }: { evil: Story; twin?: Story },
): void {
  test(`${name}: ${code}`, () => {
    const { world, verify } = start()
    const attempt = evil(world) ?? {}
    expect(refusalOf(() => verify(attempt))?.code).toBe(code)
  })
  test(`${name}, honest twin: installs`, () => {
    const { world, verify } = start()
    const attempt = twin?.(world) ?? {}
    expect(verify(attempt).targets.map(({ component }) => component)).toEqual(['main'])
  })
}

/** The director wants another build, as the release keys signed it. */
export function wantBuild(world: World, build: Parameters<World['addBuild']>[0]): void {
  world.builds = {}
  world.wanted = {}
  world.want(world.addBuild(build))
  world.publishFirmware()
  world.publishWanted()
}
