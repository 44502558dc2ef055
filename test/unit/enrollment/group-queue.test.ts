import { expect, test } from 'vitest'

import { parseCsr } from '../../../pki/csr/parse.ts'
import { generatePrivateKey } from '../../../pki/keys.ts'
import type { EnrollRequest } from '../../../server/enrollment/enroll-rules.ts'
import { EnrollmentQueue } from '../../../server/enrollment/group-queue.ts'
import type { IssueDeps } from '../../../server/enrollment/issue.ts'
import { DomainError } from '../../../server/errors.ts'
import { newRequest } from '../../support/identity-world.ts'

const key = generatePrivateKey('P-256')

function requestOf(serialNumber: string, own: typeof key = generatePrivateKey('P-256')) {
  const csr = parseCsr(newRequest(serialNumber, { key: own }).csr)
  const names = { serialNumber, commonName: serialNumber }
  return { csr, names, requestKey: Buffer.from(serialNumber) } as EnrollRequest
}

/** A queue that takes each request alone, and the requests it works on. */
function givenQueue(limits: ConstructorParameters<typeof EnrollmentQueue>[2]) {
  const working = new Map<EnrollRequest, PromiseWithResolvers<Buffer>>()
  const alone = async (_ctx: IssueDeps, request: EnrollRequest) => {
    const answer = Promise.withResolvers<Buffer>()
    working.set(request, answer)
    return await answer.promise.finally(() => working.delete(request))
  }
  const queue = new EnrollmentQueue({} as IssueDeps, alone, { group: 1, ...limits })
  return { queue, working, names: () => [...working.keys()].map((one) => one.names.serialNumber) }
}

/** Everything that can happen without an answer has happened. */
const settled = async () => {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve))
}

test('more requests than fit are told to come back, until there is room', async () => {
  const { queue, working } = givenQueue({ requests: 2, groupsAtOnce: 1 })
  const [first, second] = [requestOf('A'), requestOf('B')]
  const answers = [queue.enroll(first), queue.enroll(second)]
  const refusal = await queue.enroll(requestOf('C')).catch((error: unknown) => error)
  expect(refusal).toBeInstanceOf(DomainError)
  expect(refusal).toMatchObject({ code: 'busy', facts: { retryAfterSeconds: 5 } })
  await settled()
  working.get(first)?.resolve(Buffer.from('a'))
  expect(await answers[0]).toEqual(Buffer.from('a'))
  const third = requestOf('C')
  answers.push(queue.enroll(third))
  await settled()
  working.get(second)?.resolve(Buffer.from('b'))
  await settled()
  working.get(third)?.resolve(Buffer.from('c'))
  expect(Buffer.concat(await Promise.all(answers))).toEqual(Buffer.from('abc'))
})

test('more bytes than fit are told to come back, however few the requests', async () => {
  const [first, second] = [requestOf('A'), requestOf('B')]
  const { length } = first.csr.der
  for (const [bytes, isRefused] of [
    [length, true],
    [2 * length + 16, false],
  ] as const) {
    const { queue, working } = givenQueue({ bytes, groupsAtOnce: 2 })
    const answers = Promise.allSettled([queue.enroll(first), queue.enroll(second)])
    await settled()
    for (const answer of working.values()) answer.resolve(Buffer.from('x'))
    const [, last] = await answers
    expect(last?.status).toBe(isRefused ? 'rejected' : 'fulfilled')
    if (last?.status === 'rejected') expect(last.reason).toMatchObject({ code: 'busy' })
  }
})

test('no more groups at once than allowed, and the rest goes in its order', async () => {
  const { queue, working, names } = givenQueue({ groupsAtOnce: 2 })
  const requests = ['A', 'B', 'C', 'D'].map((name) => requestOf(name))
  const answers = Promise.all(requests.map((request) => queue.enroll(request)))
  await settled()
  expect(names()).toEqual(['A', 'B'])
  for (const [at, request] of requests.entries()) {
    working.get(request)?.resolve(Buffer.from([at]))
    await settled()
  }
  expect(Buffer.concat(await answers)).toEqual(Buffer.from([0, 1, 2, 3]))
})

test('what has device, key or request in common waits for each other; a failure is its own', async () => {
  const { queue, working, names } = givenQueue({ groupsAtOnce: 4 })
  const requests = [requestOf('A', key), requestOf('A'), requestOf('B', key), requestOf('C')]
  const answers = Promise.allSettled(requests.map((request) => queue.enroll(request)))
  await settled()
  expect(names()).toEqual(['A', 'C'])
  const [first, ...others] = requests
  if (first) working.get(first)?.reject(new DomainError('not-allowed', 'no'))
  await settled()
  expect(names()).toEqual(['C', 'A', 'B'])
  for (const request of others) working.get(request)?.resolve(Buffer.from('x'))
  const results = (await answers).map(({ status }) => status)
  expect(results).toEqual(['rejected', 'fulfilled', 'fulfilled', 'fulfilled'])
})
