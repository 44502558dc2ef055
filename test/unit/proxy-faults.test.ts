import { pino } from 'pino'
import { expect, test, vi } from 'vitest'

import { proxyFaults } from '../../server/http/proxy-faults.ts'
import { createMetrics } from '../../server/metrics.ts'

function listener() {
  const log = pino({ enabled: false })
  const warn = vi.spyOn(log, 'warn')
  const metrics = createMetrics()
  const time = { ms: 0 }
  const closed = proxyFaults({ log, metrics }, () => time.ms)
  return { closed, warn, metrics, time }
}

test('a flood of connections without a header is one line a minute, with their number', async () => {
  const { closed, warn, metrics, time } = listener()
  for (let n = 0; n < 500; n += 1) closed('bad', '10.0.0.5')
  expect(warn.mock.calls).toEqual([
    [{ fault: 'bad', from: '10.0.0.5', closed: 1 }, expect.any(String)],
  ])
  time.ms += 59_999
  closed('late', '10.0.0.6')
  expect(warn).toHaveBeenCalledTimes(1)
  time.ms += 1
  closed('late', '10.0.0.6')
  expect(warn.mock.lastCall?.[0]).toEqual({ fault: 'late', from: '10.0.0.6', closed: 501 })
  const { values } = await metrics.proxyRefused.get()
  expect(values.map(({ labels, value }) => [labels.fault, value])).toEqual([
    ['bad', 500],
    ['late', 2],
  ])
})

test('health checks that say nothing are counted, and no line', async () => {
  const { closed, warn, metrics } = listener()
  for (let n = 0; n < 500; n += 1) closed('gone', undefined)
  expect(warn).not.toHaveBeenCalled()
  expect((await metrics.proxyRefused.get()).values).toMatchObject([{ value: 500 }])
})
