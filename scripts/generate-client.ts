import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { openRoutes, routes } from '../server/http/app.ts'
import { openApiDocument } from '../server/http/openapi.ts'
import { schemaNames, webhookMessages } from '../server/http/schema-names.ts'
import { clientTypes } from './client-types.ts'

/*
 * Writes client/openapi.json and client/generated.ts. Do it after every change of the interface: `node scripts/generate-client.ts`.
 * test/rules/client.test.ts is red until then.
 */

const prefix = '/api/v1'

/** The text of the description, a line for each call and each schema, and of its types. */
export function generated(): { document: string; types: string } {
  const document = openApiDocument(routes, {
    prefix,
    // The client of one version is that of the next one when nothing else changes.
    version: 'v1',
    names: schemaNames,
    open: openRoutes,
    messages: webhookMessages,
  })
  const types = `/* Written by scripts/generate-client.ts from the description of the interface. */\n/* oxlint-disable eslint/max-lines, typescript/no-redundant-type-constituents, typescript/no-duplicate-type-constituents */\n\n${clientTypes(document, prefix)}`
  return { document: byLine(document), types }
}

function byLine(document: Record<string, unknown>): string {
  const line = (value: unknown, depth: number): string => {
    if (depth === 0 || typeof value !== 'object' || value === null || Array.isArray(value)) {
      return JSON.stringify(value)
    }
    const entries = Object.entries(value).map(
      ([name, part]) => `${JSON.stringify(name)}:${line(part, depth - 1)}`,
    )
    return `{\n${entries.join(',\n')}\n}`
  }
  const { paths, components, ...rest } = document
  const parts = Object.entries(rest).map(([name, part]) => `"${name}":${JSON.stringify(part)}`)
  return `{\n${parts.join(',\n')},\n"paths":${line(paths, 2)},\n"components":${line(components, 2)}\n}\n`
}

if (import.meta.main) {
  const folder = join(import.meta.dirname, '../client')
  const { document, types } = generated()
  writeFileSync(join(folder, 'openapi.json'), document)
  writeFileSync(join(folder, 'generated.ts'), types)
}
