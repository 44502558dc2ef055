import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'

export interface RawAnswer {
  status: number
  /** As written, in order. */
  headers: [name: string, value: string][]
  body: string
}

/** Sends bytes over TLS and reads answers by Content-Length alone, like a client that knows nothing else. */
export async function rawHttp(
  options: ConnectionOptions,
  pieces: readonly string[],
  count = 1,
): Promise<{ answers: RawAnswer[]; socket: TLSSocket }> {
  const socket = connect({ host: 'localhost', servername: 'localhost', ...options })
  const { promise, resolve, reject } = Promise.withResolvers<RawAnswer[]>()
  const answers: RawAnswer[] = []
  let text = ''
  socket.on('error', reject)
  socket.on('data', (data: Buffer) => {
    text += data.toString('latin1')
    for (let next = take(text); next && answers.length < count; next = take(text)) {
      answers.push(next.answer)
      text = next.rest
    }
    if (answers.length === count) resolve(answers)
  })
  socket.on('close', () => reject(new Error(`Closed after ${answers.length} answers`)))
  socket.once('secureConnect', () => {
    for (const piece of pieces) socket.write(piece, 'latin1')
  })
  await promise
  return { answers, socket }
}

function take(text: string): { answer: RawAnswer; rest: string } | undefined {
  const end = text.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const [first = '', ...lines] = text.slice(0, end).split('\r\n')
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1])
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon), line.slice(colon + 1).trim()]
  })
  if (status === 100) return take(text.slice(end + 4))
  const length = Number(headers.find(([name]) => name === 'Content-Length')?.[1] ?? 0)
  const from = end + 4
  if (text.length < from + length) return undefined
  return {
    answer: { status, headers, body: text.slice(from, from + length) },
    rest: text.slice(from + length),
  }
}
