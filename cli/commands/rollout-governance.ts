import { DefinitionView } from '../../server/rollouts/governance-wire.ts'
import type { Command } from '../command.ts'
import { rolloutId } from '../lookup.ts'

export const governanceCommands: readonly Command[] = [
  {
    verb: 'definition',
    args: 'ROLLOUT',
    summary: 'What exactly is approved, as JSON, and its SHA-256',
    run: async ({ client, args: [given = ''], out }) => {
      const api = await client()
      const path = `/rollouts/${await rolloutId(api, given)}/definition`
      out.answer(await api.get(DefinitionView, path), ({ definition, definitionHash }) => {
        return `${JSON.stringify(definition, null, 2)}\n${definitionHash}`
      })
    },
  },
]
