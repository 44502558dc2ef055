import formats from 'ajv-formats'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { expect, test } from 'vitest'

import { openRoutes, routes } from '../../../server/http/app.ts'
import { openApiDocument } from '../../../server/http/openapi.ts'
import { schemaNames } from '../../../server/http/schema-names.ts'

/* Examples in the description of the interface are what its schemas allow, and bodies what the server takes. */

type Json = Record<string, unknown>
interface Operation {
  requestBody?: { content: Record<string, { schema: object; example?: unknown }> }
  responses: Record<string, { content?: Record<string, { schema: object; example?: unknown }> }>
}
const document = openApiDocument(routes, {
  prefix: '/api/v1',
  version: '0',
  names: schemaNames,
  open: openRoutes,
})
const paths = document['paths'] as Record<string, Record<string, Operation>>
const ajv = new Ajv2020({ strict: false })
formats.default(ajv)
ajv.addFormat('binary', true)
ajv.addSchema({ $id: 'openapi', components: document['components'] as Json })

const isValid = (schema: object, value: unknown) => {
  const text = JSON.stringify(schema).replaceAll('"#/components', '"openapi#/components')
  return ajv.compile(JSON.parse(text) as object)(value)
}

test('examples of answers are answers', () => {
  const wrong: string[] = []
  let seen = 0
  for (const [path, operations] of Object.entries(paths)) {
    for (const [method, { responses }] of Object.entries(operations)) {
      for (const [status, { content }] of Object.entries(responses)) {
        const { schema, example } = content?.['application/json'] ?? {}
        if (!schema || example === undefined) continue
        seen += 1
        if (!isValid(schema, example)) wrong.push(`${method} ${path} ${status} ${ajv.errorsText()}`)
      }
    }
  }
  expect(wrong).toEqual([])
  expect(seen).toBeGreaterThan(100)
})

test('every body has an example, which the server takes', () => {
  const refused: string[] = []
  const without: string[] = []
  let seen = 0
  for (const { method, path, schemas } of [...routes, ...openRoutes]) {
    const template = `/api/v1${path.replaceAll(/:(\w+)/g, '{$1}')}`
    const media = paths[template]?.[method]?.requestBody?.content['application/json']
    if (!media || !schemas.body) continue
    seen += 1
    if (media.example === undefined) {
      without.push(`${method} ${path}`)
      continue
    }
    const parsed = schemas.body.safeParse(media.example)
    if (!parsed.success || !isValid(media.schema, media.example)) {
      refused.push(`${method} ${path}`)
    }
  }
  expect(refused).toEqual([])
  // Parts that have to fit each other in a way that no schema says: give the route an `example`.
  expect(without).toEqual([])
  expect(seen).toBeGreaterThan(40)
})
