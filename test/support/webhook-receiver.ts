import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'

export interface Received {
  id: string
  headers: IncomingHttpHeaders
  body: string
  /** Parsed. */
  event: Record<string, unknown> & { type: string; deviceId: string | null; subject: string }
}

export interface Receiver extends AsyncDisposable {
  url: string
  calls: Received[]
  /** How many calls were being answered at the same time, at most. */
  mostAtOnce: () => number
  /** What it answers from now on; 204 at first. */
  answer: (how: number | ((call: Received, res: ServerResponse) => void)) => void
}

/** Somebody's webhook, on a port of the loopback interface. */
export async function startReceiver(): Promise<Receiver> {
  const calls: Received[] = []
  let now = 0
  let most = 0
  let respond = (_call: Received, res: ServerResponse): void => void res.writeHead(204).end()
  const server = createServer((req, res) => {
    now += 1
    most = Math.max(most, now)
    res.once('close', () => (now -= 1))
    const chunks: Buffer[] = []
    req.on('data', (chunk: Buffer) => chunks.push(chunk))
    req.on('end', () => {
      const body = Buffer.concat(chunks).toString('utf8')
      const event = JSON.parse(body) as Received['event']
      const call = { id: String(req.headers['webhook-id']), headers: req.headers, body, event }
      calls.push(call)
      respond(call, res)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}/hook`,
    calls,
    mostAtOnce: () => most,
    answer: (how) => {
      respond = typeof how === 'number' ? (_call, res) => void res.writeHead(how).end() : how
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}
