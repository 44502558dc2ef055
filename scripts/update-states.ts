import { writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

import {
  type DeploymentState,
  deploymentStates,
  endedStates,
  executedStates,
  type Mover,
  moves,
} from '../server/protocol/deployment.ts'
import {
  afterRolloutAction,
  type RolloutAction,
  rolloutMoves,
  rolloutStates,
} from '../server/rollouts/state.ts'

export const statesFile = 'docs/device-update-states.md'
export const rolloutStatesFile = 'docs/rollout-states.md'

/** Ends that nearly every state may come to. */
const hidden: readonly DeploymentState[] = ['cancelled', 'superseded', 'expired', 'lost']
const movers: readonly Mover[] = ['device', 'owner', 'engine', 'operator']

/** `docs/device-update-states.md`, whole. A test holds the file against it. */
export function statesDocument(): string {
  return `${[
    '# States of a device update',
    'Made from the table in `server/protocol/deployment.ts`, which server and agent share, by',
    '`node scripts/update-states.ts`; a test keeps it current. Whoever is not named for a move is refused: the report is',
    'acknowledged, recorded as a security event and in the audit log, answered with what counts, and changes nothing.',
    '',
    "- *device*: the agent. *owner*: who holds the device, through the agent. *engine*: the server's rollout engine and",
    '  timers. *operator*: a person with an API key.',
    '- A report may skip steps that the device took while it was offline: they are filled in, each a move of its own, so',
    '  the history (`GET /deployments/:id`) has no holes. Nothing is skipped backward.',
    `- Ends with a verdict, which the shares of a rollout count: ${executedStates.map(code).join(', ')}.`,
    '',
    '## Diagram',
    `Left out, because they would hide the rest: ${hidden.map(code).join(', ')}; they are in the table.`,
    ...diagram(),
    '',
    '## Moves',
    '| from | to | who | when |',
    '|---|---|---|---|',
    ...rows(),
    '',
    '## Who may cause what',
    `| to | ${movers.join(' | ')} |`,
    `|---|${movers.map(() => '---|').join('')}`,
    ...deploymentStates.flatMap(whoTo),
  ].join('\n')}\n`
}

const rolloutActions = Object.keys(rolloutMoves) as RolloutAction[]

/** `docs/rollout-states.md`, whole. A test holds the file against it. */
export function rolloutStatesDocument(): string {
  const moves = rolloutStates.flatMap((from) => {
    return rolloutActions.flatMap((action) => {
      const to = afterRolloutAction(from, action)
      return to === undefined ? [] : [{ from, action, to }]
    })
  })
  const ends = rolloutStates.filter((state) => moves.every(({ from }) => from !== state))
  return `${[
    '# States of a rollout',
    'Made from the table in `server/rollouts/state.ts` by `node scripts/update-states.ts`; a test keeps it current. Every move is one',
    'compare-and-set on the rollout, its phase and its definition, with one row in the audit trail; whatever is not in the table is',
    'refused (`illegal-transition`, with the present state). What becomes of each device is in [device-update-states.md](device-update-states.md).',
    '',
    '```mermaid',
    'stateDiagram-v2',
    '    [*] --> draft: create',
    ...moves
      .filter(({ from, to }) => from !== to)
      .map(({ from, action, to }) => `    ${from} --> ${to}: ${action}`),
    ...ends.map((end) => `    ${end} --> [*]`),
    '```',
    '',
    '| from | action | to |',
    '|---|---|---|',
    ...moves.map(({ from, action, to }) => `| \`${from}\` | ${action} | \`${to}\` |`),
    '',
    '| action | who | when |',
    '|---|---|---|',
    ...rolloutActions.map((action) => {
      return `| ${action} | ${rolloutMoves[action].by} | ${rolloutMoves[action].when} |`
    }),
  ].join('\n')}\n`
}

function diagram(): string[] {
  const start = '    [*] --> queued: the engine met the device'
  const lines = pairs()
    .filter((pair) => !pair.some((state) => hidden.includes(state)))
    .map(([from, to]) => `    ${from} --> ${to}: ${by(from, to)}`)
  const ends = endedStates
    .filter((state) => !hidden.includes(state))
    .map((end) => `    ${end} --> [*]`)
  return ['```mermaid', 'stateDiagram-v2', start, ...lines, ...ends, '```']
}

function rows(): string[] {
  const first = '| – | `queued` | engine | the device falls in an open share and is met |'
  const more = pairs().map(([from, to]) => {
    return `| ${code(from)} | ${code(to)} | ${by(from, to)} | ${moves[from][to]?.when ?? ''} |`
  })
  return [first, ...more]
}

function whoTo(to: DeploymentState): string[] {
  const cells = movers.map((mover) => {
    return deploymentStates
      .filter((from) => moves[from][to]?.by.includes(mover))
      .map(code)
      .join(', ')
  })
  return cells.some(Boolean) ? [`| ${code(to)} | ${cells.join(' | ')} |`] : []
}

function pairs(): [DeploymentState, DeploymentState][] {
  return deploymentStates.flatMap((from) => {
    return deploymentStates
      .filter((to) => moves[from][to])
      .map((to): [DeploymentState, DeploymentState] => [from, to])
  })
}

function by(from: DeploymentState, to: DeploymentState): string {
  return moves[from][to]?.by.join(', ') ?? ''
}

function code(state: DeploymentState): string {
  return `\`${state}\``
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  writeFileSync(statesFile, statesDocument())
  writeFileSync(rolloutStatesFile, rolloutStatesDocument())
}
