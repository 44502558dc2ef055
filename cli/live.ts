import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'

import { RolloutView } from '../server/rollouts/wire.ts'
import type { ApiClient } from './api.ts'

const maxEventChars = 4 * 1024 * 1024

/** What the server tells of one rollout by itself. */
export interface Live extends Disposable {
  /** The newest view; undefined before the first, and when the stream has ended: then one has to ask. */
  view: () => RolloutView | undefined
  /** Until there is news, the stream has ended, or so much time is over. */
  next: (ms: number) => Promise<void>
}

/**
 * Listens to the progress of a rollout (server-sent events, HTML §9.2). Undefined when that cannot be, whatever the reason: whoever asks
 * instead is told it.
 */
export async function openLive(
  api: ApiClient,
  id: string,
  signal: AbortSignal,
): Promise<Live | undefined> {
  const accept = 'text/event-stream'
  try {
    return listen(await api.stream(`/rollouts/${id}/events`, { accept, signal }), signal)
  } catch {
    return undefined
  }
}

function listen(source: Readable, signal: AbortSignal): Live {
  let view: RolloutView | undefined
  let isOpen = true
  let news = Promise.withResolvers<void>()
  const tell = () => {
    news.resolve()
    news = Promise.withResolvers<void>()
  }
  const read = async () => {
    for await (const data of eventsIn(source)) {
      const value: unknown = JSON.parse(data)
      if (!RolloutView.safeParse(value).success) return
      view = value as RolloutView
      tell()
    }
  }
  void read()
    .catch(() => {})
    .finally(() => {
      isOpen = false
      source.destroy()
      tell()
    })
  return {
    view: () => (isOpen || isOver(view) ? view : undefined),
    next: async (ms) => {
      const { promise } = news
      if (!isOpen) return
      const over = new AbortController()
      const waited = sleep(ms, undefined, { signal: AbortSignal.any([signal, over.signal]) })
      await Promise.race([promise, waited.catch(() => {})])
      over.abort()
    },
    [Symbol.dispose]: () => void source.destroy(),
  }
}

/** The server ends the stream with the rollout. */
function isOver(view: RolloutView | undefined): boolean {
  return view !== undefined && ['completed', 'failed', 'cancelled'].includes(view.state)
}

/** The data of each `snapshot` and `change`. Throws when one is too long. */
export async function* eventsIn(source: Readable): AsyncGenerator<string> {
  let rest = ''
  let event = ''
  let data = ''
  source.setEncoding('utf8')
  for await (const chunk of source as AsyncIterable<string>) {
    const lines = (rest + chunk).split(/\r?\n/)
    rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line === '') {
        if (data !== '' && (event === 'snapshot' || event === 'change')) yield data
        event = data = ''
      } else if (line.startsWith('event:')) event = line.slice(6).trim()
      else if (line.startsWith('data:')) data += line.slice(5).trim()
    }
    if (rest.length + data.length > maxEventChars) throw new Error('an event is too long')
  }
}
