import { LoadFleet } from './fleet.ts'
import type { Answer, Message, OrderName, Orders } from './orders.ts'
import { publish } from './publish.ts'

/* The load of a bench, in a process of its own: what it costs is not the server's. Takes orders from its parent, and ends with it. */

const fleet = new LoadFleet()

type Work = {
  [Name in OrderName]: (order: Orders[Name][0]) => Orders[Name][1] | Promise<Orders[Name][1]>
}

const work: Work = {
  use: (order) => fleet.use(order),
  churn: (order) => fleet.churn(order),
  hold: (order) => fleet.hold(order),
  publish: (order) => publish(fleet.held, order),
  arrive: (order) => fleet.arrive(order),
  closes: (order) => fleet.closes(order),
  forget: () => fleet.forget(),
  freeze: (order) => fleet.some(order, 'pause'),
  thaw: (order) => fleet.some(order, 'resume'),
  release: () => fleet.release(),
  state: () => fleet.state(),
}

async function answer({ id, name, order }: Message): Promise<Answer> {
  try {
    return { id, result: await work[name](order as never) }
  } catch (error) {
    return { id, error: error instanceof Error ? error.message : String(error) }
  }
}

process.on('message', (message: Message) => {
  void answer(message).then((result) => process.send?.(result))
})
process.on('disconnect', () => process.exit(0))
