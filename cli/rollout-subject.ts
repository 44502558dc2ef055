import type { ApiClient } from './api.ts'
import type { Option } from './command.ts'
import { usageError } from './failure.ts'
import { authorityId, releaseId } from './lookup.ts'
import type { Values } from './values.ts'

export const subjectOptions: Record<string, Option> = {
  release: {
    type: 'string',
    value: 'RELEASE',
    about: 'id or MODEL/COMPONENT/VERSION (this or --certificate)',
  },
  with: {
    type: 'string',
    multiple: true,
    value: 'RELEASE',
    about: 'one of another component, installed together with it or not at all',
  },
  certificate: {
    type: 'string',
    multiple: true,
    value: 'issuer=AUTHORITY|before=INSTANT',
    about: 'renew certificates that are not of this issuer, or were made before then',
  },
}

/** What a rollout gives out, as it is typed: a release and what comes with it, or what certificates are to become. */
export async function subjectOf(
  api: () => Promise<ApiClient>,
  values: Values,
): Promise<Record<string, unknown>> {
  const release = values.text('release')
  const typed = values.texts('certificate')
  if ((release === undefined) === (typed.length === 0)) {
    throw usageError('A rollout is of one thing', 'Name --release RELEASE, or --certificate')
  }
  if (release === undefined) return { certificate: await certificateOf(api, typed) }
  const client = await api()
  const along: string[] = []
  for (const one of values.texts('with')) along.push(await releaseId(client, one))
  return { releaseId: await releaseId(client, release), with: along }
}

async function certificateOf(
  api: () => Promise<ApiClient>,
  typed: readonly string[],
): Promise<Record<string, string>> {
  const target: Record<string, string> = {}
  for (const text of typed) {
    const at = text.indexOf('=')
    const value = text.slice(at + 1)
    if (at < 0 || value === '') throw odd(text)
    switch (text.slice(0, at)) {
      case 'issuer':
        target['issuerId'] = await authorityId(await api(), value)
        break
      case 'before':
        target['issuedBefore'] = value
        break
      default:
        throw odd(text)
    }
  }
  return target
}

function odd(text: string) {
  return usageError(
    `--certificate ${text} says nothing about certificates`,
    'Write --certificate issuer=NAME (fleetseal authority list), --certificate before=2026-12-01T00:00:00Z, or both',
  )
}
