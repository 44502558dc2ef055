import { ChallengeView, NewChallengeView, ScepPolicyView } from '../../server/scep/wire.ts'
import { collect } from '../collect.ts'
import type { CommandInput, Noun, Option } from '../command.ts'
import { profileId } from '../lookup.ts'
import { Page } from '../page.ts'

const leniency: Record<string, Option> = {
  'allow-sha1': { type: 'boolean', about: 'messages signed with SHA-1' },
  'allow-triple-des': { type: 'boolean', about: 'messages encrypted with triple DES' },
  'allow-ber': { type: 'boolean', about: 'messages in BER, as Java and Apple write them' },
}

export const scepNoun: Noun = {
  noun: 'scep',
  summary: 'old RSA devices that speak SCEP',
  commands: [
    {
      verb: 'show',
      args: 'PROFILE',
      summary: 'Whether devices of a profile may enroll by SCEP, and where',
      run: async ({ client, args: [profile = ''], out }) => {
        const api = await client()
        show(out, await api.get(ScepPolicyView, await pathOf(api, profile, 'scep')))
      },
    },
    {
      verb: 'enable',
      args: 'PROFILE',
      summary: 'Let devices of a profile enroll by SCEP; each needs a challenge',
      options: leniency,
      run: async (input) => await set(input, true),
    },
    {
      verb: 'disable',
      args: 'PROFILE',
      summary: 'No longer speak SCEP with devices of a profile',
      run: async (input) => await set(input, false),
    },
    {
      verb: 'challenge',
      args: 'PROFILE SERIAL',
      summary: 'Make a challenge for one device; it is shown once and works once',
      options: {
        minutes: { type: 'string', value: 'N', about: 'how long it is good for (1440)' },
      },
      run: async ({ client, args: [profile = '', serialNumber = ''], values, out }) => {
        const api = await client()
        const body = { serialNumber, validMinutes: values.number('minutes') }
        const path = await pathOf(api, profile, 'scep-challenges')
        out.answer(await api.create(NewChallengeView, path, body), (one) => one.challenge)
      },
    },
    {
      verb: 'challenges',
      args: 'PROFILE',
      summary: 'Challenges of a profile, without their secrets',
      run: async ({ client, args: [profile = ''], out }) => {
        const api = await client()
        const path = await pathOf(api, profile, 'scep-challenges')
        out.rows(await collect(api.list(Page(ChallengeView), path)), [
          { head: 'serial number', cell: (one) => one.serialNumber },
          { head: 'used', cell: (one) => one.isUsed },
          { head: 'until', cell: (one) => one.expiresAt },
          { head: 'id', cell: (one) => one.id },
        ])
      },
    },
    {
      verb: 'end-challenge',
      args: 'PROFILE CHALLENGE',
      summary: 'End a challenge, by its id; a certificate stays',
      run: async ({ client, args: [profile = '', challenge = ''], out }) => {
        const api = await client()
        const path = await pathOf(api, profile, 'scep-challenges')
        await api.delete(`${path}/${encodeURIComponent(challenge)}`)
        out.say('ended')
      },
    },
  ],
}

type Api = Awaited<ReturnType<CommandInput['client']>>

async function pathOf<const W extends string>(api: Api, profile: string, what: W) {
  return `/enrollment-profiles/${await profileId(api, profile)}/${what}` as const
}

async function set(
  { client, args: [profile = ''], values, out }: CommandInput,
  enabled: boolean,
): Promise<void> {
  const api = await client()
  const body = enabled
    ? {
        enabled,
        allowSha1: values.flag('allow-sha1'),
        allowTripleDes: values.flag('allow-triple-des'),
        allowBer: values.flag('allow-ber'),
      }
    : { enabled }
  show(out, await api.replace(ScepPolicyView, await pathOf(api, profile, 'scep'), body))
}

function show(out: CommandInput['out'], policy: ScepPolicyView): void {
  out.fields(policy, (one) => [
    ['enabled', one.enabled],
    ['address', one.url],
    ['SHA-1', one.allowSha1],
    ['triple DES', one.allowTripleDes],
    ['BER', one.allowBer],
  ])
}
