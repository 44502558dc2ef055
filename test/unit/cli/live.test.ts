import { createServer, type Server, type ServerResponse } from 'node:http'
import { Readable } from 'node:stream'

import { afterEach, beforeEach, expect, test } from 'vitest'

import { createClient } from '../../../cli/client.ts'
import { collect } from '../../../cli/collect.ts'
import type { Surroundings } from '../../../cli/command.ts'
import { eventsIn } from '../../../cli/live.ts'
import { createOutput } from '../../../cli/output.ts'
import { watchRollout } from '../../../cli/watch.ts'
import type { RolloutView } from '../../../server/rollouts/wire.ts'
import { rolloutView } from '../../support/rollout-view.ts'

const { id, groupId } = rolloutView()
const group = {
  id: groupId,
  name: 'lab',
  description: '',
  query: null,
  evaluatedAt: null,
  deviceCount: 4,
  incident: null,
  version: 1,
  createdAt: '2030-01-01T00:00:00Z',
}

let server: Server
let events: (res: ServerResponse) => void
/** Answers to who asks, one after the other; the last one for good. */
let views: RolloutView[]
let asked: number
let listened: number
beforeEach(async () => {
  asked = listened = 0
  server = createServer((req, res) => {
    const json = (value: unknown) =>
      res.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(value))
    if (req.url?.endsWith('/events')) {
      listened++
      events(res)
    } else if (req.url?.includes('/groups/')) json(group)
    else json(views[Math.min(asked++, views.length - 1)])
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterEach(() => {
  server.closeAllConnections()
  server.close()
})

const event = (kind: string, view: Partial<RolloutView>) =>
  `id: x\nevent: ${kind}\ndata: ${JSON.stringify(rolloutView(view))}\n\n`

async function watch() {
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : 0
  using api = createClient({ server: `http://127.0.0.1:${port}`, apiKey: 'fs_x' })
  let drawn = ''
  const world = {
    stderr: { write: (text: string) => (drawn += text) },
    now: () => new Date(),
    sleep: async () => {},
    signal: new AbortController().signal,
  } as unknown as Surroundings
  const out = createOutput({ write: () => {} }, false)
  const result = await watchRollout(api, id, { world, out }).catch((error: unknown) => error)
  return { result, drawn }
}

test('follows what it is told, and asks once, for the end', async () => {
  views = [rolloutView({ state: 'completed', executed: 4, succeeded: 4 })]
  events = (res) => {
    res.writeHead(200, { 'Content-Type': 'text/event-stream' })
    res.write(`retry: 2000\n\n${event('snapshot', { executed: 1, succeeded: 1 })}`)
    res.write(': still here\n\n')
    setTimeout(() => {
      res.end(`${event('change', { state: 'completed' })}event: end\ndata: {}\n\n`)
    }, 300)
  }
  const { result, drawn } = await watch()
  expect(result).toMatchObject({ state: 'completed', succeeded: 4 })
  expect([asked, listened]).toEqual([1, 1])
  expect(drawn).toContain(' 25%')
  expect(drawn).toContain('100%')
})

test.each<[string, (res: ServerResponse) => void]>([
  ['refuses to stream', (res) => res.writeHead(429).end('{}')],
  ['streams something else', (res) => res.writeHead(200).end('event: change\ndata: {}\n\n')],
  ['breaks off', (res) => res.writeHead(200).write(': hello\n\n', () => res.destroy())],
])('a server that %s is asked', async (_, answer) => {
  views = [rolloutView(), rolloutView(), rolloutView({ state: 'completed' })]
  events = answer
  const { result } = await watch()
  expect(result).toMatchObject({ state: 'completed' })
  expect([asked, listened]).toEqual([3, 1])
})

test('what was told from before it was resumed does not end the watch', async () => {
  views = [rolloutView(), rolloutView({ state: 'completed' })]
  events = (res) => {
    res.writeHead(200).write(event('snapshot', { state: 'paused' }))
  }
  expect((await watch()).result).toMatchObject({ state: 'completed' })
})

test('events come in any pieces, and not too long ones', async () => {
  const text =
    'event: snapshot\r\ndata: {"a":1}\r\n\r\nevent: end\ndata: 2\n\nevent: change\ndata: 3\n\n'
  const read = async (pieces: string[]) => await collect(eventsIn(Readable.from(pieces)))
  expect(await read(text.split(''))).toEqual(['{"a":1}', '3'])
  expect(await read([text])).toEqual(['{"a":1}', '3'])
  const endless = Array.from({ length: 6 }, () => 'x'.repeat(1_000_000))
  await expect(read(endless)).rejects.toThrow('too long')
})
