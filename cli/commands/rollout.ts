import { DeploymentView } from '../../server/deployments/wire.ts'
import { RolloutView } from '../../server/rollouts/wire.ts'
import type { ApiClient } from '../api.ts'
import { collect } from '../collect.ts'
import type { CommandInput, Noun, Option } from '../command.ts'
import { Failure, usageError } from '../failure.ts'
import { groupId, rolloutId } from '../lookup.ts'
import { Page } from '../page.ts'
import { withCohortIds } from '../phase-bounds.ts'
import { parsePhase } from '../phases.ts'
import { showRollout } from '../rollout-fields.ts'
import { settingBody, settingOptions } from '../rollout-settings.ts'
import { subjectOf, subjectOptions } from '../rollout-subject.ts'
import type { Column } from '../table.ts'
import { follow, followOptions, follows } from '../wait.ts'
import { explainRollout } from './explain.ts'
import { previewRollout } from './preview.ts'
import { derivedCommands } from './rollout-derived.ts'
import { exportRollout } from './rollout-export.ts'
import { governanceCommands } from './rollout-governance.ts'

const columns: Column<RolloutView>[] = [
  { head: 'name', cell: (rollout) => rollout.name },
  { head: 'state', cell: (rollout) => rollout.state },
  { head: 'phase', cell: (rollout) => `${rollout.phase} of ${rollout.phases.length}` },
  { head: 'succeeded', cell: (rollout) => rollout.succeeded },
  { head: 'failed', cell: (rollout) => rollout.failed },
  { head: 'id', cell: (rollout) => rollout.id },
]

const deploymentColumns: Column<DeploymentView>[] = [
  { head: 'device', cell: (deployment) => deployment.serialNumber },
  { head: 'phase', cell: (deployment) => deployment.phase },
  { head: 'state', cell: (deployment) => deployment.state },
  { head: 'since', cell: (deployment) => deployment.changedAt },
  { head: 'code', cell: (deployment) => deployment.code },
  { head: 'detail', cell: (deployment) => deployment.detail },
  { head: 'id', cell: (deployment) => deployment.id },
]

const reason: Record<string, Option> = {
  reason: { type: 'string', value: 'TEXT', about: 'why; kept with the rollout' },
}

export const rolloutNoun: Noun = {
  noun: 'rollout',
  summary: 'who gets a release, how fast, and when to stop',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'Rollouts, newest first',
      run: async ({ client, out }) =>
        out.rows(await collect((await client()).list(Page(RolloutView), '/rollouts')), columns),
    },
    {
      verb: 'create',
      args: 'NAME',
      summary: 'Draft a rollout to a group: of a published release, or of new certificates',
      options: {
        ...subjectOptions,
        group: { type: 'string', value: 'GROUP', about: 'the group (needed)' },
        query: {
          type: 'string',
          value: 'QUERY',
          about: `only those of the group that it finds, like 'installed.app < "2.4.0"'`,
        },
        phase: {
          type: 'string',
          multiple: true,
          value:
            'PERCENT|count=N|cohort=GROUP[:seen=SPAN][:rate=N/min][:success=N][:min=N][:soak=SPAN][:put-off=N][:within=SPAN][:hold]',
          about: 'one phase, percents are cumulative (one phase of 100)',
        },
        ...settingOptions,
        start: { type: 'boolean', about: 'start it at once' },
        key: {
          type: 'string',
          value: 'TEXT',
          about: 'the same key again is the same rollout: for scripts that run twice',
        },
        ...followOptions,
      },
      run: create,
    },
    {
      verb: 'show',
      args: 'ROLLOUT',
      summary: 'One rollout: how many devices are where',
      options: followOptions,
      run: async ({ client, args: [given = ''], values, out, world }) => {
        const api = await client()
        const id = await rolloutId(api, given)
        const rollout = await api.get(RolloutView, `/rollouts/${id}`)
        showRollout(out, await follow(api, rollout, { values, out, world }))
      },
    },
    {
      verb: 'deployments',
      args: 'ROLLOUT',
      summary: 'Which devices were met, and how far each is',
      options: { state: { type: 'string', value: 'STATE', about: 'only in this state' } },
      run: async ({ client, args: [given = ''], values, out }) => {
        const api = await client()
        const path = `/rollouts/${await rolloutId(api, given)}/deployments` as const
        const query = { state: values.text('state') }
        out.rows(await collect(api.list(Page(DeploymentView), path, query)), deploymentColumns)
      },
    },
    exportRollout,
    explainRollout,
    previewRollout,
    ...governanceCommands,
    ...derivedCommands,
    ...(['start', 'resume', 'approve'] as const).map((verb) => ({
      verb,
      args: 'ROLLOUT',
      summary: `${verb.charAt(0).toUpperCase()}${verb.slice(1)} it`,
      options: { ...reason, ...followOptions },
      run: action(verb),
    })),
    {
      verb: 'pause',
      args: 'ROLLOUT',
      summary: 'Admit no more devices; those at work go on',
      options: reason,
      run: action('pause'),
    },
    {
      verb: 'cancel',
      args: 'ROLLOUT',
      summary: 'End it; what is not being installed yet is taken back',
      options: reason,
      run: action('cancel'),
    },
    {
      verb: 'advance',
      args: 'ROLLOUT',
      summary: 'Open the next phase by hand',
      options: { ...reason, ...followOptions },
      run: action('advance'),
    },
  ],
}

async function create({ client, args: [name], values, out, world }: CommandInput): Promise<void> {
  const group = values.needed('group')
  if (follows(values) && !values.flag('start')) throw usageError('To wait for it needs --start')
  const typed = values.texts('phase').map(parsePhase)
  const phases = typed.length > 0 ? typed : [{ percent: 100 }]
  const api = await client()
  const body = {
    name,
    ...(await subjectOf(client, values)),
    groupId: await groupId(api, group),
    query: values.text('query'),
    phases: await withCohortIds(api, phases),
    ...settingBody(values, world.now()),
  }
  const draft = await api.create(RolloutView, '/rollouts', body, values.text('key'))
  if (!values.flag('start')) {
    showRollout(out, draft)
    return
  }
  const started = await act(api, draft.id, { action: 'start' })
  showRollout(out, await follow(api, started, { values, out, world }))
}

type Word = 'approve' | 'start' | 'pause' | 'resume' | 'cancel' | 'advance'

function action(word: Word) {
  return async ({ client, args: [given = ''], values, out, world }: CommandInput) => {
    const api = await client()
    const id = await rolloutId(api, given)
    const body = { action: word, reason: values.text('reason'), ...(await seen(api, id, word)) }
    const rollout = await act(api, id, body)
    showRollout(out, await follow(api, rollout, { values, out, world }))
  }
}

/** What the person saw: pressing twice does not open two phases, and nothing is approved that changed meanwhile. */
async function seen(api: ApiClient, id: string, word: Word): Promise<Seen> {
  if (word !== 'advance' && word !== 'approve') return {}
  const { phase, definitionHash } = await api.get(RolloutView, `/rollouts/${id}`)
  if (word === 'advance') return { phase }
  return definitionHash === null ? {} : { definitionHash }
}

interface Seen {
  phase?: number
  definitionHash?: string
}

async function act(
  api: ApiClient,
  id: string,
  body: Seen & { action: Word; reason?: string | undefined },
): Promise<RolloutView> {
  try {
    return await api.act(RolloutView, `/rollouts/${id}/actions`, body)
  } catch (error) {
    const isRefused = error instanceof Failure && error.code === 'illegal-transition'
    if (!isRefused || !done[body.action]?.includes(String(error.facts['state']))) throw error
    return await api.get(RolloutView, `/rollouts/${id}`)
  }
}

/** States in which there is nothing left to do, so that a script may run twice. */
const done: Partial<Record<Word, readonly string[]>> = {
  start: ['running', 'completed'],
  resume: ['running', 'completed'],
  pause: ['paused'],
  cancel: ['cancelled'],
}
