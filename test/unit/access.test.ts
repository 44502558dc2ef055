import fc from 'fast-check'
import { expect, test } from 'vitest'

import { mustHold } from '../../server/access/escalation.ts'
import { toGrants } from '../../server/access/grants.ts'
import type { StoredGrant } from '../../server/db/grants.ts'
import { reachOf } from '../../server/http/access.ts'
import { builtInRoles, permissions as all } from '../../server/protocol/permissions.ts'
import type { Reach } from '../../server/protocol/reach.ts'

/** Those of one's own are everybody's, whatever was given. */
const permissions = all.filter((name) => !name.startsWith('self:'))
const groupIds = ['a', 'b', 'c', 'd']
const devices = Array.from({ length: 16 }, (_, bits) =>
  groupIds.filter((_name, place) => (bits >> place) & 1),
)
const covers = (reach: Reach | undefined, memberOf: readonly string[]) =>
  reach !== undefined &&
  (reach === 'fleet' ||
    reach.some((list) => list.length > 0 && list.every((id) => memberOf.includes(id))))

const someGroups = fc.subarray(groupIds)
const storedGrant = fc.oneof(
  fc.record({
    role: fc.constantFrom<string>(...builtInRoles),
    groups: someGroups,
    permissions: fc.constant(null),
    roleGroups: fc.constant(null),
  }),
  fc.record({
    role: fc.constant('own'),
    groups: someGroups,
    permissions: fc.subarray([...permissions, 'of:tomorrow'], { maxLength: 6 }),
    roleGroups: someGroups,
  }),
)
const stored: fc.Arbitrary<StoredGrant[]> = fc.array(storedGrant, { maxLength: 4 })
const seed = 20_261_126

test('a grant is narrowed by every scope, its own and that of its role, and never widened by having two', () => {
  fc.assert(
    fc.property(storedGrant, fc.constantFrom(...permissions), (one, permission) => {
      const reach = reachOf({ grants: toGrants([one]) }, permission)
      for (const memberOf of devices) {
        const inAll = [...one.groups, ...(one.roleGroups ?? [])].every((id) =>
          memberOf.includes(id),
        )
        if (covers(reach, memberOf)) expect(inAll).toBe(true)
        else if (reach !== undefined) expect(inAll).toBe(false)
      }
    }),
    { seed, numRuns: 300 },
  )
})

test('having several grants is no more than having each of them', () => {
  fc.assert(
    fc.property(stored, fc.constantFrom(...permissions), (several, permission) => {
      const reach = reachOf({ grants: toGrants(several) }, permission)
      const each = several.map((one) => reachOf({ grants: toGrants([one]) }, permission))
      for (const memberOf of devices) {
        expect(covers(reach, memberOf)).toBe(each.some((part) => covers(part, memberOf)))
      }
    }),
    { seed, numRuns: 300 },
  )
})

test('a role that is gone and a permission that nobody knows open nothing', () => {
  const gone = { role: 'own', groups: [], permissions: null, roleGroups: null }
  expect(toGrants([gone])).toEqual([])
  expect(toGrants([{ ...gone, permissions: ['of:tomorrow'] }])).toEqual([])
})

test('who passes on only what he holds never gives more than that, and he can always pass on what he holds', () => {
  let refused = 0
  fc.assert(
    fc.property(stored, storedGrant, (own, given) => {
      const actor = { grants: toGrants(own) }
      mustHold(actor, actor.grants)
      const grants = toGrants([given])
      try {
        mustHold(actor, grants)
      } catch {
        refused++
        return
      }
      for (const permission of permissions) {
        for (const memberOf of devices) {
          if (covers(reachOf({ grants }, permission), memberOf)) {
            expect(covers(reachOf(actor, permission), memberOf)).toBe(true)
          }
        }
      }
    }),
    { seed, numRuns: 500 },
  )
  expect(refused).toBeGreaterThan(50)
})
