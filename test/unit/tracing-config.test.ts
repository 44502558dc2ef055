import { expect, test } from 'vitest'

import { loadConfig } from '../../server/config.ts'

const tracing = (env: Record<string, string>) => loadConfig(env).tracing

test('nothing is traced unless somebody says where to', () => {
  expect(tracing({})).toBeUndefined()
})

test.each([
  ['http://collector:4318', 'http://collector:4318/v1/traces'],
  ['https://collector/otlp/', 'https://collector/otlp/v1/traces'],
  ['https://collector/v1/traces', 'https://collector/v1/traces'],
])('%s means %s', (given, endpoint) => {
  expect(tracing({ FLEETSEAL_OTLP_ENDPOINT: given })).toEqual({ endpoint, headers: {}, ratio: 1 })
})

test('headers and share', () => {
  expect(
    tracing({
      FLEETSEAL_OTLP_ENDPOINT: 'https://collector',
      FLEETSEAL_OTLP_HEADERS: 'Authorization=Basic==,x-tenant=7',
      FLEETSEAL_TRACE_RATIO: '0.25',
    }),
  ).toMatchObject({ headers: { authorization: 'Basic==', 'x-tenant': '7' }, ratio: 0.25 })
})

test.each([
  ['FLEETSEAL_OTLP_ENDPOINT', 'collector:4318'],
  ['FLEETSEAL_OTLP_ENDPOINT', 'ftp://collector'],
  ['FLEETSEAL_OTLP_HEADERS', 'no value'],
  ['FLEETSEAL_OTLP_HEADERS', 'a=b\nc=d'],
  ['FLEETSEAL_TRACE_RATIO', '1.5'],
  ['FLEETSEAL_TRACE_RATIO', ''],
])('%s=%s is a mistake that is named', (name, value) => {
  expect(() => tracing({ FLEETSEAL_OTLP_ENDPOINT: 'https://c', [name]: value })).toThrow(name)
})
