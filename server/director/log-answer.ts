import {
  deviceEntry,
  fileEntry,
  leafOf,
  type LogHead,
  type LogProofs,
} from '../../pki/tuf/log-entry.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import type { CurrentMetadata } from '../metadata/current.ts'
import { sha256Of } from '../metadata/online-files.ts'
import type { Have } from '../protocol/messages.ts'
import { appendEntries, proofsFor } from '../transparency/service.ts'
import type { Desired } from './desired.ts'
import { raiseAlarm } from './have.ts'
import type { DirectorState } from './store.ts'

export interface LogAnswer {
  head: LogHead
  proofs: LogProofs
}

interface Asked {
  request: { deviceId: string; have: Have }
  desired: Desired
  state: DirectorState
  current: CurrentMetadata
}

/**
 * For each device that looks at the transparency log: why the files it is sent are in it (updates.md 2.4). None for a device
 * to which all of them were proven before, so a poll without news costs nothing here.
 */
export async function logAnswers<T extends Asked>(
  ctx: Pick<Context, 'db' | 'clock' | 'log' | 'metrics'>,
  asked: readonly T[],
): Promise<Map<T, LogAnswer>> {
  const questions = asked.flatMap((one) => {
    const held = one.request.have.log
    if (!held) return []
    const entries = entriesOf(one).filter(({ leaf }) => !held.proven.includes(leaf))
    return entries.length === 0
      ? []
      : [{ one, entries, leaves: entries.map(({ leaf }) => leaf), sizes: [held.size] }]
  })
  if (questions.length === 0) return new Map()
  let { head, proofs } = await proofsFor(ctx.db, questions)
  // Signed or published before there was a log, or a moment ago by another process.
  const missing = questions.flatMap((question) =>
    question.entries.filter(({ leaf }) => !proofs.get(question)?.included[leaf]),
  )
  if (missing.length > 0) {
    const data = missing.map((entry) => entry.data)
    await inTransaction(ctx.db, (tx) => appendEntries(tx, data, ctx.clock.now()))
    ;({ head, proofs } = await proofsFor(ctx.db, questions))
  }
  const answers = new Map<T, LogAnswer>()
  for (const question of questions) {
    const { deviceId, have } = question.one.request
    if ((have.log?.size ?? 0) > head.size) {
      raiseAlarm(ctx, 'metadata-ahead', { deviceId, files: ['transparency log'] })
    }
    const found = proofs.get(question)
    if (found) answers.set(question.one, { head, proofs: found })
  }
  return answers
}

/** What a device asks to be proven: its own targets file, and the image files that vouch for what it is to install. */
function entriesOf({ desired, state, current }: Asked): { leaf: string; data: Buffer }[] {
  const { imageRoles } = desired
  const files = imageRoles.length === 0 ? [] : ['targets', ...imageRoles]
  const entries = files.flatMap((role) => {
    const file = current.image.get(role)
    if (!file) return []
    const { version, text } = file
    return [fileEntry({ repository: 'image', role, version, sha256: sha256Of(text) })]
  })
  return [deviceEntry(sha256Of(state.targets)), ...entries].map((data) => ({
    leaf: leafOf(data),
    data,
  }))
}
