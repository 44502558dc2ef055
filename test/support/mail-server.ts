import type { AddressInfo } from 'node:net'

import { SMTPServer } from 'smtp-server'

export interface ReceivedMail {
  from: string
  to: string[]
  text: string
}

export interface MailServer extends AsyncDisposable {
  url: string
  mails: ReceivedMail[]
  /** Connections that were made. */
  connections: () => number
  /** From now on: take mails, or refuse them with this code, or say nothing. */
  answer: (how: 'take' | 'silent' | number) => void
}

/** A mail server on a port of the loopback interface. Refuses `unknown@…` for good, whatever it was told. */
export async function startMailServer(): Promise<MailServer> {
  const mails: ReceivedMail[] = []
  let how: 'take' | 'silent' | number = 'take'
  let connections = 0
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    disableReverseLookup: true,
    onConnect: (_session, done) => {
      connections += 1
      if (how !== 'silent') done()
    },
    onRcptTo: ({ address }, _session, done) => {
      if (address.startsWith('unknown@')) return done(refusal(550))
      done()
    },
    onData: (stream, session, done) => {
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        if (typeof how === 'number') return done(refusal(how))
        const { mailFrom, rcptTo } = session.envelope
        mails.push({
          from: mailFrom === false ? '' : mailFrom.address,
          to: rcptTo.map(({ address }) => address),
          text: Buffer.concat(chunks).toString('utf8'),
        })
        done()
      })
    },
  })
  server.on('error', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.server.address() as AddressInfo
  return {
    url: `smtp://127.0.0.1:${port}`,
    mails,
    connections: () => connections,
    answer: (next) => {
      how = next
    },
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  }
}

function refusal(code: number): Error {
  return Object.assign(new Error('not now'), { responseCode: code })
}
