import type { RolloutView } from '../server/rollouts/wire.ts'
import { abortFields, waitsForWords } from './abort-rules.ts'
import type { CommandInput } from './command.ts'
import { limitFields } from './limits-text.ts'
import { boundFields, extentText } from './phase-bounds.ts'
import { windowFields } from './window-text.ts'

/** One rollout in words. */
export function showRollout(out: CommandInput['out'], rollout: RolloutView): void {
  out.fields(rollout, (one) => [
    ['name', one.name],
    ['state', one.reason === null ? one.state : `${one.state}: ${one.reason}`],
    ...(one.parentId === null ? [] : [[`${one.kind} of`, one.parentId] as const]),
    ['phase', `${one.phase} of ${one.phases.length}`],
    ['waits for', waitsForWords(one)],
    ...abortFields(one),
    ...limitFields(one),
    ...one.phases.map(
      (phase) =>
        [
          `phase ${phase.no}`,
          `${extentText(phase)}${phase.hold ? ', hold' : ''}: ${phase.succeeded} of ${phase.executed} succeeded`,
        ] as const,
    ),
    [
      'devices',
      Object.entries(one.counts)
        .map(([state, count]) => `${count} ${state}`)
        .join(', '),
    ],
    ...boundFields(one),
    ...approvalFields(one),
    ...windowFields(one),
    ...(one.startAt === null || one.phase > 0 ? [] : [['starts at', one.startAt] as const]),
    ...subjectFields(one),
    ...(one.with.length > 0 ? [['with', one.with.join(', ')] as const] : []),
    ['group', one.groupId],
    ...(one.query === null ? [] : [['query', one.query] as const]),
    ['id', one.id],
  ])
}

function subjectFields({ releaseId, certificate }: RolloutView) {
  if (!certificate) return [['release', releaseId]] as const
  const { issuerId, issuedBefore } = certificate
  return [
    ...(issuerId === null ? [] : [['certificates of', issuerId] as const]),
    ...(issuedBefore === null ? [] : [['those made before', issuedBefore] as const]),
  ]
}

function approvalFields({ approvals, definitionHash }: RolloutView) {
  const { needed, missing, given } = approvals
  if (needed === 0 && given.length === 0) return []
  const by = given.map((one) => one.by).join(', ')
  const counted = `${given.length} of ${needed}${by && `: ${by}`}`
  return [
    ['approvals', missing > 0 ? `${counted}; ${missing} missing` : counted],
    ['definition', definitionHash],
  ] as const
}
