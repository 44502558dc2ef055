import { permissionsNeeded } from './access.ts'
import type { JsonObject } from './openapi-components.ts'
import { ownPageHeader } from './origin.ts'
import type { Route } from './route.ts'

/** All ways to say who calls (operators/credentials.ts). */
export const securitySchemes: JsonObject = {
  apiKey: { type: 'http', scheme: 'bearer', description: 'An API key' },
  workload: {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'JWT',
    description: 'The token of a pipeline, from an issuer that a workload names',
  },
  session: {
    type: 'apiKey',
    in: 'cookie',
    name: '__Host-fleetseal',
    description: 'Of somebody who signed in; never beside an Authorization header',
  },
  ownPage: {
    type: 'apiKey',
    in: 'header',
    name: ownPageHeader,
    description:
      '`1`, with an `Origin` of this server: what a page of another one cannot send with the cookie',
  },
  clientCertificate: {
    type: 'mutualTLS',
    description: 'A certificate that was registered, where the server asks for one',
  },
  metricsToken: { type: 'http', scheme: 'bearer', description: 'Of the scraper of metrics' },
}

const byItself = [{ apiKey: [] }, { workload: [] }, { clientCertificate: [] }]
export const readSecurity: JsonObject[] = [...byItself, { session: [] }]
const changeSecurity: JsonObject[] = [...byItself, { session: [], ownPage: [] }]

/** What a call is to show. Undefined: as all that read. What is somebody's own needs somebody: a key has no password. */
export function securityOf({ permission, method }: Route): JsonObject[] | undefined {
  const session = method === 'get' ? { session: [] } : { session: [], ownPage: [] }
  if (permissionsNeeded(permission).every((name) => name.startsWith('self:'))) return [session]
  return method === 'get' ? undefined : changeSecurity
}
