import { DefinitionView } from '../../server/rollouts/governance-wire.ts'
import { RolloutView } from '../../server/rollouts/wire.ts'
import type { Command, CommandInput } from '../command.ts'
import { usageError } from '../failure.ts'
import { rolloutId } from '../lookup.ts'
import { withCohortIds } from '../phase-bounds.ts'
import { parsePhase } from '../phases.ts'
import { showRollout } from '../rollout-fields.ts'
import { settingBody, settingOptions } from '../rollout-settings.ts'
import { goalOf, goalOptions } from '../wait.ts'
import { watchRollout } from '../watch.ts'

export const governanceCommands: readonly Command[] = [
  {
    verb: 'edit',
    args: 'ROLLOUT',
    summary: 'Change what it does, as far as it was not done yet; voids its approvals',
    options: {
      name: { type: 'string', value: 'NAME', about: 'another name' },
      phase: {
        type: 'string',
        multiple: true,
        value: 'PHASE',
        about: 'all phases anew, as with create; those that are over stay as they are',
      },
      ...settingOptions,
      reason: { type: 'string', value: 'TEXT', about: 'why; kept in the audit trail' },
    },
    run: edit,
  },
  {
    verb: 'wait',
    args: 'ROLLOUT',
    summary: 'Wait until it has completed, with an exit code for each other end',
    options: goalOptions,
    run: async ({ client, args: [given = ''], values, out, world }) => {
      const goal = goalOf(values, world.now())
      const api = await client()
      const id = await rolloutId(api, given)
      showRollout(out, await watchRollout(api, id, { out, world }, goal))
    },
  },
  {
    verb: 'definition',
    args: 'ROLLOUT',
    summary: 'What exactly is approved, as JSON, and its SHA-256',
    run: async ({ client, args: [given = ''], out }) => {
      const api = await client()
      const path = `/rollouts/${await rolloutId(api, given)}/definition` as const
      out.answer(await api.get(DefinitionView, path), ({ definition, definitionHash }) => {
        return `${JSON.stringify(definition, null, 2)}\n${definitionHash}`
      })
    },
  },
]

async function edit({ client, args: [given = ''], values, out, world }: CommandInput) {
  const phases = values.texts('phase').map(parsePhase)
  const settings = { name: values.text('name'), ...settingBody(values, world.now()) }
  if (phases.length === 0 && Object.values(settings).every((value) => value === undefined)) {
    throw usageError('Nothing to change', 'fleetseal help rollout names what can be')
  }
  const api = await client()
  const id = await rolloutId(api, given)
  const { definitionHash } = await api.get(RolloutView, `/rollouts/${id}`)
  const changes =
    phases.length > 0 ? { ...settings, phases: await withCohortIds(api, phases) } : settings
  // What somebody else changed in between is not overwritten.
  const seen = definitionHash === null ? {} : { definitionHash }
  const body = { ...changes, ...seen, reason: values.text('reason') }
  showRollout(out, await api.patch(RolloutView, `/rollouts/${id}`, body))
}
