import { readFileSync } from 'node:fs'

import { expect, test } from 'vitest'

import { generated } from '../../scripts/generate-client.ts'

/*
 * What is written from the description of the interface is what the interface is now: `node scripts/generate-client.ts`.
 */

const stored = (name: string) => readFileSync(`client/${name}`, 'utf8')

test('client/ is made of the interface as it is', () => {
  const { document, types } = generated()
  expect(stored('openapi.json') === document, 'Run node scripts/generate-client.ts').toBe(true)
  expect(stored('generated.ts') === types, 'Run node scripts/generate-client.ts').toBe(true)
})

test('what is sent to webhooks is described', () => {
  const { webhooks } = JSON.parse(stored('openapi.json')) as { webhooks: Record<string, unknown> }
  expect(Object.keys(webhooks)).toEqual(
    expect.arrayContaining(['deployment.ended', 'audit.recorded']),
  )
})
