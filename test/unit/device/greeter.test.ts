import { expect, test } from 'vitest'

import { Greeter } from '../../../device-sim/greeter.ts'

/* Answers that cross: the server answers two questions in the other order, or from a log that grew between them. */

interface Heard {
  open: readonly string[]
  past: readonly string[]
}

/** A greeter whose answers are the nonces that they answer. */
function make() {
  const asked: string[] = []
  const heard: Heard[] = []
  const state = { logSize: 0, nextLogSize: 0 }
  const greeter = new Greeter({
    retryMs: 3_600_000,
    publish: async (nonce) => void asked.push(nonce),
    onGreeted: () => {},
    logSize: () => state.logSize,
    log: () => {},
  })
  const taker = {
    takeBundle: async (bytes: Buffer, open: readonly string[], past: readonly string[]) => {
      heard.push({ open: [...open], past: [...past] })
      const nonce = bytes.toString()
      if (!open.includes(nonce)) return undefined
      state.logSize = state.nextLogSize
      return nonce
    },
  }
  const ask = async () => {
    const before = asked.length
    greeter.greet()
    await expect.poll(() => asked.length, { timeout: 60_000 }).toBe(before + 1)
    return asked.at(-1) ?? ''
  }
  const answer = async (nonce: string) => await greeter.answer(Buffer.from(nonce), taker)
  return { greeter, state, asked, heard, ask, answer }
}

test('the answer to the older of two questions is late when the newer was answered, and no attack', async () => {
  const { greeter, heard, ask, answer } = make()
  greeter.start()
  const older = await ask()
  const newer = await ask()
  await answer(newer)
  await answer(older)
  expect(heard).toMatchObject([
    { open: expect.arrayContaining([older, newer]), past: [] },
    { open: [], past: expect.arrayContaining([older, newer]) },
  ])
  greeter.stop()
})

test('a newer question stays open while the log is as it was', async () => {
  const { greeter, heard, ask, answer } = make()
  greeter.start()
  const older = await ask()
  const newer = await ask()
  await answer(older)
  await answer(newer)
  expect(heard[1]?.open).toEqual([newer])
  greeter.stop()
})

test('what was asked from an older head of the log is asked anew when an answer moved it', async () => {
  const { greeter, state, asked, heard, ask, answer } = make()
  greeter.start()
  const older = await ask()
  const newer = await ask()
  state.nextLogSize = 7
  await answer(older)
  await expect.poll(() => asked.length, { timeout: 60_000 }).toBe(3)
  await answer(newer)
  const again = asked[2] ?? ''
  expect(heard[1]).toMatchObject({ open: [again], past: expect.arrayContaining([newer]) })
  await answer(again)
  expect(heard[2]?.open).toEqual([again])
  greeter.stop()
})

test('no list of questions grows without end', async () => {
  const { greeter, heard, ask, answer } = make()
  greeter.start()
  for (let n = 0; n < 12; n++) await ask()
  await answer('nobody asked this')
  expect(heard[0]?.open).toHaveLength(8)
  expect(heard[0]?.past.length).toBeLessThanOrEqual(16)
  greeter.stop()
}, 60_000)
