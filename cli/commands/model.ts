import { ModelView } from '../../server/models/wire.ts'
import { collect } from '../collect.ts'
import type { CommandInput, Noun } from '../command.ts'
import { usageError } from '../failure.ts'
import { Page } from '../page.ts'

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
  ],
}

function show(out: CommandInput['out'], model: ModelView): void {
  out.fields(model, (one) => [
    ['name', one.name],
    ['hardware ids', one.hardwareIds.join(', ')],
    ['id', one.id],
  ])
}
