import type { z } from 'zod'

import type { Components, JsonObject } from './openapi-components.ts'

const header = (name: string, description: string) => ({
  name,
  in: 'header',
  required: true,
  description,
  schema: { type: 'string' },
})

/** Of Standard Webhooks (docs/webhooks.md). */
const parameters = [
  header('webhook-id', 'The event: the same in every attempt'),
  header('webhook-timestamp', 'Seconds since 1970, of this attempt'),
  header(
    'webhook-signature',
    '`v1,` and HMAC-SHA256 in base64; two, separated by a space, while a secret is replaced',
  ),
]

/** The section `webhooks` of an OpenAPI 3.1 document: what is sent to addresses that asked for it, by type of event. */
export function webhooksSection(
  messages: Readonly<Record<string, z.ZodType>>,
  components: Components,
): JsonObject {
  const entries = Object.entries(messages).map(([type, message]) => [
    type,
    {
      post: {
        operationId: `on ${type}`.replaceAll(/[ .-](\w)/g, (_match, letter: string) =>
          letter.toUpperCase(),
        ),
        summary: `Told of ${type}`,
        tags: ['webhooks'],
        parameters,
        requestBody: {
          required: true,
          content: { 'application/json': { schema: components.schema(message, 'output') } },
        },
        responses: {
          '2XX': { description: 'Taken; anything else is tried again' },
          410: { description: 'Gone: the address is not called any more' },
        },
      },
    },
  ])
  return Object.fromEntries(entries) as JsonObject
}
