import { expect, test } from 'vitest'

import { type AttackCode, VerificationError } from '../../pki/tuf/errors.ts'
import { type Attempt, World } from './tuf-fixture.ts'

type Story = (world: World) => Attempt | void

/** The refusal of an attempt, or undefined when it went through. */
export function refusalOf(attempt: () => unknown): VerificationError | undefined {
  try {
    attempt()
    return undefined
  } catch (error) {
    if (error instanceof VerificationError) return error
    throw error
  }
}

/**
 * Two tests: the attack is refused with `code`, and its honest twin, which differs in nothing but the malice, installs.
 * Without `twin` that is the honest world as it stands.
 */
export function attack(
  name: string,
  code: AttackCode,
  { evil, twin = () => undefined }: { evil: Story; twin?: Story },
): void {
  test(`${name}: ${code}`, () => {
    const world = World.honest()
    const attempt = evil(world) ?? {}
    expect(refusalOf(() => world.verify(attempt))?.code).toBe(code)
  })
  test(`${name}, honest twin: installs`, () => {
    const world = World.honest()
    const attempt = twin(world) ?? {}
    expect(world.verify(attempt).targets.map(({ component }) => component)).toContain('main')
  })
}
