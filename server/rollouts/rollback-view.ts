import type { Db } from '../db/client.ts'
import type { Reach } from '../protocol/reach.ts'
import type { RollbackView } from './derived-wire.ts'
import { countWaysBack, type NoWayBack } from './rollback-store.ts'
import { getRollout, releasesById } from './store.ts'

/** What a rollback would do now, told before it is made. */
export async function previewRollback(
  db: Db,
  rolloutId: string,
  reach: Reach,
): Promise<RollbackView> {
  await getRollout(db, rolloutId)
  const ways = await countWaysBack(db, { rolloutId, reach })
  const targets = ways.flatMap(({ reason, release_id: id, n }) =>
    reason === null && id !== null ? [{ id, n }] : [],
  )
  const releases = await releasesById(
    db,
    targets.map(({ id }) => id),
  )
  const cannot = new Map<NoWayBack, number>()
  for (const { reason, n } of ways) {
    if (reason !== null) cannot.set(reason, (cannot.get(reason) ?? 0) + n)
  }
  return {
    devices: ways.reduce((sum, { n }) => sum + n, 0),
    back: targets.flatMap(({ id, n }) => {
      const release = releases.find((one) => one.id === id)
      if (!release) return []
      const { component, version, build } = release
      return [{ releaseId: id, component, version, build, devices: n }]
    }),
    cannot: [...cannot].map(([reason, devices]) => ({ reason, devices, remedy: remedies[reason] })),
  }
}

const signAnew =
  'release its image again under a higher build: fleetseal release create MODEL/COMPONENT/VERSION --build … --artifact …, release submit, ' +
  'sign fw-MODEL, release publish; then a rollout of that'

const remedies: Readonly<Record<NoWayBack, string>> = {
  'device-blocked':
    'It is not active, or in a group that is cut off: enable it, and make the rollback then',
  'left-group':
    "It is no longer in the rollout's group: put it back, or make a rollout to a group that it is in",
  'unknown-before': `Nothing says what it ran before. What is known to be good has to go forward: ${signAnew}`,
  'no-release': `What it ran before is no release of this server. Upload that image, and ${signAnew}`,
  withdrawn: `What it ran before was withdrawn, and devices refuse what is not listed. If it is good, ${signAnew}`,
  'security-version':
    'What it ran before has a lower security version, which devices refuse whoever signs it. Build the old state with the ' +
    `present security version, and ${signAnew}`,
  incompatible: `What it ran before is not for its hardware as it is listed now: correct that, and ${signAnew}`,
}
