import { applicabilities, ModelView } from '../../server/models/wire.ts'
import { collect } from '../collect.ts'
import type { CommandInput, Noun } from '../command.ts'
import { usageError } from '../failure.ts'
import { Page } from '../page.ts'
import type { Values } from '../values.ts'

export const modelNoun: Noun = {
  noun: 'model',
  summary: 'device models and the hardware ids their firmware is for',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'Models, newest first',
      run: async ({ client, out }) =>
        out.rows(await collect((await client()).list(Page(ModelView), '/models')), [
          { head: 'name', cell: (model) => model.name },
          { head: 'hardware ids', cell: (model) => model.hardwareIds.join(', ') },
          { head: 'id', cell: (model) => model.id },
        ]),
    },
    {
      verb: 'create',
      args: 'NAME',
      summary: 'Make a model; its signing role fw-NAME is drafted and waits for signatures',
      options: {
        'hardware-id': { type: 'string', multiple: true, value: 'ID', about: 'a board (needed)' },
      },
      run: async ({ client, args: [name], values, out }) => {
        const hardwareIds = values.texts('hardware-id')
        if (hardwareIds.length === 0) throw usageError('--hardware-id is missing')
        show(out, await (await client()).create(ModelView, '/models', { name, hardwareIds }))
        out.say('next: fleetseal sign targets')
      },
    },
    {
      verb: 'show',
      args: 'MODEL',
      summary: 'One model, by id or name',
      run: async ({ client, args: [model = ''], out }) =>
        show(out, await (await client()).get(ModelView, `/models/${encodeURIComponent(model)}`)),
    },
    {
      verb: 'set-policy',
      args: 'MODEL',
      summary: 'Change how owners of its devices choose about updates; the rest stays as it is',
      options: {
        applicability: {
          type: 'string',
          value: 'KIND',
          about: `of automatic updates: ${applicabilities.join(', ')}`,
        },
        'auto-security': {
          type: 'string',
          value: 'YES|NO',
          about: 'security updates install themselves (yes where applicable)',
        },
        justification: { type: 'string', value: 'TEXT', about: 'needed for all but the default' },
        postpone: {
          type: 'string',
          value: 'EACH,TIMES,TOTAL,GRACE',
          about: 'of security updates, in hours (72,5,336,48), or default',
        },
        'postpone-exploited': {
          type: 'string',
          value: 'EACH,TIMES,TOTAL,GRACE',
          about: 'of those under attack (24,3,72,24), or default',
        },
        quiet: {
          type: 'string',
          multiple: true,
          value: 'FROM-TO',
          about: 'device-local hours, such as 22:00-06:00, or none',
        },
      },
      run: setPolicy,
    },
  ],
}

async function setPolicy({ client, args: [name = ''], values, out }: CommandInput) {
  const api = await client()
  const path = `/models/${encodeURIComponent(name)}` as const
  const { policy } = await api.get(ModelView, path)
  const quiet = values.texts('quiet')
  const automatic = values.oneOf('auto-security', ['yes', 'no'])
  const applicability = values.oneOf('applicability', applicabilities)
  // What follows from the kind of the model is not carried over to another kind.
  const kept = applicability === undefined ? policy.autoSecurity : undefined
  const body = {
    ...policy,
    autoUpdateApplicability: applicability ?? policy.autoUpdateApplicability,
    autoSecurity: automatic === undefined ? kept : automatic === 'yes',
    justification: values.text('justification') ?? policy.justification,
    postpone: {
      security: postponeOf(values, 'postpone', policy.postpone.security),
      exploited: postponeOf(values, 'postpone-exploited', policy.postpone.exploited),
    },
    quiet: quiet.length === 0 ? policy.quiet : quiet.filter((span) => span !== 'none'),
  }
  show(out, await api.replace(ModelView, `${path}/policy`, body))
}

type Postpone = ModelView['policy']['postpone']['security']

function postponeOf(values: Values, option: string, before: Postpone): Postpone {
  const text = values.text(option)
  if (text === undefined) return before
  if (text === 'default') return undefined
  const [, eachH, maxCount, totalH, graceH] =
    /^(\d{1,4}),(\d{1,4}),(\d{1,4}),(\d{1,4})$/.exec(text) ?? []
  if (graceH === undefined) throw usageError(`--${option} ${text} is not EACH,TIMES,TOTAL,GRACE`)
  return {
    eachH: Number(eachH),
    maxCount: Number(maxCount),
    totalH: Number(totalH),
    graceH: Number(graceH),
  }
}

function boundsOf(bounds: Postpone): string {
  if (!bounds) return 'default'
  const { eachH, maxCount, totalH, graceH } = bounds
  return `${eachH} h each, ${maxCount} times, ${totalH} h in all, then ${graceH} h grace`
}

function show(out: CommandInput['out'], model: ModelView): void {
  out.fields(model, (one) => [
    ['name', one.name],
    ['hardware ids', one.hardwareIds.join(', ')],
    ['automatic updates', one.policy.autoUpdateApplicability],
    ['security updates', one.policy.autoSecurity ? 'install themselves' : 'are asked for'],
    ['because', one.policy.justification],
    ['put off', boundsOf(one.policy.postpone.security)],
    ['put off, exploited', boundsOf(one.policy.postpone.exploited)],
    ['quiet hours', one.policy.quiet.join(', ') || 'any time'],
    ['id', one.id],
  ])
}
