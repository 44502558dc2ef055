import { revocationReasonNames } from '../../server/certificates/state.ts'
import { CertificateView } from '../../server/certificates/wire.ts'
import type { Command, CommandInput, Noun } from '../command.ts'
import { usageError } from '../failure.ts'

export const certificateNoun: Noun = {
  noun: 'certificate',
  summary: 'one certificate: revoke it, put it on hold, release it',
  commands: [
    {
      verb: 'show',
      args: 'ID',
      summary: 'One certificate; the ids are in device certificates',
      run: async ({ client, args: [id = ''], out }) =>
        show(out, await (await client()).get(CertificateView, pathOf(id))),
    },
    {
      verb: 'revoke',
      args: 'ID',
      summary: 'Revoke a certificate for good; the device keeps its record',
      options: {
        reason: {
          type: 'string',
          value: 'REASON',
          about: `one of ${revocationReasonNames.join(', ')} (needed)`,
        },
      },
      run: async (input) => {
        const reason = input.values.oneOf('reason', revocationReasonNames)
        if (reason === undefined) throw usageError('--reason is missing')
        await act(input, { action: 'revoke', reason })
      },
    },
    plain('hold', 'Refuse a certificate at once, until it is released'),
    plain('release', 'Let a certificate that is on hold back'),
  ],
}

function plain(action: 'hold' | 'release', summary: string): Command {
  return {
    verb: action,
    args: 'ID',
    summary,
    run: async (input) => await act(input, { action }),
  }
}

async function act(
  { client, args: [id = ''], out }: CommandInput,
  body: { action: string; reason?: string },
): Promise<void> {
  show(out, await (await client()).act(CertificateView, `${pathOf(id)}/actions`, body))
}

function pathOf(id: string) {
  return `/certificates/${encodeURIComponent(id.toLowerCase())}` as const
}

function show(out: CommandInput['out'], certificate: CertificateView): void {
  out.fields(certificate, (one) => [
    ['state', one.state],
    ['subject', one.subject],
    ['serial', one.serial],
    ['valid', `${one.notBefore} to ${one.notAfter}`],
    ['revoked', one.revokedAt && `${one.revokedAt} (${one.revocationReason ?? 'unspecified'})`],
    ['device', one.deviceId],
    ['fingerprint', one.fingerprint],
    ['id', one.id],
  ])
}
