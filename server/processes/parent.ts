import { FromBroker, supervisedArgument, ToBroker } from './messages.ts'

/** Nobody waits for an orphan, and the next server does for its ports (brokers.ts). */
const orphanMs = 5_000

/** The process that started this one. */
export interface Parent {
  tell: (message: FromBroker) => void
  onMetrics: (read: () => Promise<object[]>) => void
  /** When what was told has been handed over. */
  flush: () => Promise<void>
  leave: () => void
}

/**
 * Ties this process to the one that started it: `stop` is called when that says so, and when it is gone, however it ended. Undefined
 * when nobody did.
 */
export function findParent(stop: () => void): Parent | undefined {
  if (process.argv[2] !== supervisedArgument || !process.connected) return undefined
  let metrics: () => Promise<object[]> = async () => []
  let told: Promise<void> = Promise.resolve()
  const tell = (message: FromBroker) => {
    // The channel may close at any moment; then there is nobody to tell.
    if (!process.connected) return
    told = new Promise((resolve) => {
      process.send?.(message, undefined, {}, () => resolve())
    })
  }
  process.on('message', (raw) => {
    const { data: message } = ToBroker.safeParse(raw)
    if (message?.type === 'stop') stop()
    if (message?.type !== 'metrics') return
    const { id } = message
    metrics().then(
      (read) => tell(FromBroker.parse({ type: 'metrics', id, metrics: read })),
      // It is counted as one that did not answer.
      () => {},
    )
  })
  let isLeaving = false
  process.once('disconnect', () => {
    if (isLeaving) return
    stop()
    setTimeout(() => process.exit(1), orphanMs).unref()
  })
  return {
    tell,
    flush: async () => await told,
    onMetrics: (read) => {
      metrics = read
    },
    leave: () => {
      isLeaving = true
      if (process.connected) process.disconnect()
    },
  }
}
