import { defaultSeries } from '../../server/authorities/state.ts'
import { keyAlgorithms } from '../../server/enrollment/state.ts'
import { EstPolicyView, ProfileView } from '../../server/enrollment/wire.ts'
import type { ApiClient } from '../api.ts'
import type { Command, CommandInput } from '../command.ts'
import { profileId } from '../lookup.ts'
import type { Values } from '../values.ts'

const keyRules = ['any', 'new', 'same'] as const
const bindings = ['optional', 'required'] as const

export const estPolicyCommands: readonly Command[] = [
  {
    verb: 'est',
    args: 'PROFILE',
    summary: 'How devices of a profile renew and speak EST',
    run: async ({ client, args: [profile = ''], out }) => {
      const api = await client()
      show(out, await api.get(EstPolicyView, await pathOf(api, profile)))
    },
  },
  {
    verb: 'set-issuer',
    args: 'PROFILE SERIES',
    summary: 'Let the authority of another series issue, from the next certificate on',
    run: setIssuer,
  },
  {
    verb: 'set-est',
    args: 'PROFILE',
    summary: 'Change how devices of a profile renew and speak EST; the rest stays as it is',
    options: {
      opens: { type: 'string', value: 'PERCENT', about: 'of its life, when renewal begins (60)' },
      jitter: { type: 'string', value: 'PERCENT', about: 'of its life, to spread over (15)' },
      grace: { type: 'string', value: 'DAYS', about: 'to renew after the end (0: not at all)' },
      key: { type: 'string', value: 'RULE', about: 'of renewals: any, new or same (any)' },
      'issued-before': {
        type: 'string',
        value: 'WHEN',
        about: 'renew older certificates out of turn; none ends it',
      },
      spread: { type: 'string', value: 'HOURS', about: 'for those, from that instant (24)' },
      overlap: {
        type: 'string',
        value: 'DAYS',
        about: 'until the old one ends though the new one was not used; none (none)',
      },
      'csr-attributes': { type: 'string', value: 'BASE64', about: 'CsrAttrs (DER), or none' },
      binding: { type: 'string', value: 'RULE', about: 'to TLS: optional or required (optional)' },
      'server-key': { type: 'string', value: 'KIND', about: 'that serverkeygen makes, or none' },
    },
    run: async ({ client, args: [profile = ''], values, out, world }) => {
      const api = await client()
      const path = await pathOf(api, profile)
      const { changedAt: _, ...before } = await api.get(EstPolicyView, path)
      const { renewal } = before
      const body = {
        renewal: {
          opensPercent: values.number('opens') ?? renewal.opensPercent,
          jitterPercent: values.number('jitter') ?? renewal.jitterPercent,
          graceDays: values.number('grace') ?? renewal.graceDays,
          key: values.oneOf('key', keyRules) ?? renewal.key,
          issuedBefore: orNone(values, 'issued-before', renewal.issuedBefore, () =>
            values.instant('issued-before', world.now()),
          ),
          spreadHours: values.number('spread') ?? renewal.spreadHours,
          overlapDays: orNone(values, 'overlap', renewal.overlapDays, () =>
            values.number('overlap'),
          ),
        },
        csrAttributes: orNone(values, 'csr-attributes', before.csrAttributes, () =>
          values.text('csr-attributes'),
        ),
        channelBinding: values.oneOf('binding', bindings) ?? before.channelBinding,
        serverKey: orNone(values, 'server-key', before.serverKey, () =>
          values.oneOf('server-key', keyAlgorithms),
        ),
      }
      show(out, await api.replace(EstPolicyView, path, body))
    },
  },
]

async function setIssuer({ client, args: [profile = '', series = ''], out }: CommandInput) {
  const api = await client()
  const path = `/enrollment-profiles/${await profileId(api, profile)}/issuer` as const
  const body = { series: series === defaultSeries ? null : series }
  out.fields(await api.replace(ProfileView, path, body), (one) => [
    ['name', one.name],
    ['issuer', one.issuerSeries ?? defaultSeries],
  ])
}

/** What an option says; `none` clears, and without the option it stays. */
function orNone<T>(
  values: Values,
  name: string,
  before: T | null,
  read: () => T | undefined,
): T | null {
  if (values.text(name) === undefined) return before
  return values.text(name) === 'none' ? null : (read() ?? before)
}

async function pathOf(api: ApiClient, profile: string) {
  return `/enrollment-profiles/${await profileId(api, profile)}/est` as const
}

function show(out: CommandInput['out'], policy: EstPolicyView): void {
  out.fields(policy, ({ renewal, csrAttributes, channelBinding, serverKey, changedAt }) => [
    ['renewal opens', `after ${renewal.opensPercent} % of the life`],
    ['spread', `over ${renewal.jitterPercent} % of the life`],
    ['grace', renewal.graceDays === 0 ? 'none' : `${renewal.graceDays} days after the end`],
    ['key', renewal.key],
    [
      'overlap',
      renewal.overlapDays === null ? 'until the old one ends' : `${renewal.overlapDays} days`,
    ],
    [
      'out of turn',
      renewal.issuedBefore &&
        `issued before ${renewal.issuedBefore}, over ${renewal.spreadHours} hours`,
    ],
    ['csr attributes', csrAttributes],
    ['channel binding', channelBinding],
    ['server key', serverKey ?? 'not offered'],
    ['changed', changedAt ?? 'never'],
  ])
}
