import type { JsonObject } from './openapi-components.ts'

/* What a browser does to sign in at an identity provider and to sign out (people/browser-routes.ts), for the OpenAPI document. */

const text = { schema: { type: 'string' } }
const problem = { schema: { $ref: '#/components/schemas/Problem' } }
const redirected = {
  description: 'On to the provider, or back to the page that it was begun from',
  headers: { Location: { schema: { type: 'string', format: 'uri-reference' } } },
  content: { 'text/html': text, 'text/plain': text },
}

/** A person looks at it: a page for who accepts one, a problem for the rest. */
const refusedAsPage = (description: string) => ({
  description,
  content: { 'text/html': text, 'application/problem+json': problem },
})
const refused = (description: string) => ({
  description,
  content: { 'application/problem+json': problem },
})

const pageRefusals = {
  400: refusedAsPage('Not what is expected here'),
  401: refusedAsPage('Not begun in this browser, too late, or nobody is signed in'),
  403: refusedAsPage('Known, and not let in'),
  404: refusedAsPage('No identity provider is set up'),
  429: refusedAsPage('Too many from this network'),
  500: refused('A fault of the server'),
  503: refusedAsPage('The provider does not answer, or too many sign-ins are under way'),
}

const query = (name: string, description: string) => ({
  name,
  in: 'query',
  required: false,
  description,
  schema: { type: 'string' },
})

function begun(id: string, summary: string, parameters: JsonObject[]): JsonObject {
  return {
    get: {
      operationId: id,
      summary,
      description: 'Open to everybody; for browsers',
      tags: ['sign-in'],
      security: [],
      parameters,
      responses: { 303: redirected, ...pageRefusals },
    },
  }
}

export const browserPaths: Readonly<Record<string, JsonObject>> = {
  '/sign-in/oidc': begun('getSignInOidc', 'Sign in at the identity provider', [
    query('returnTo', 'A path of this server to come back to'),
    query('stepUp', 'Given: who is signed in shows who they are once more'),
  ]),
  '/sign-in/oidc/callback': begun(
    'getSignInOidcCallback',
    'Where the provider sends the browser back to; it sets the cookie of the session',
    [
      query('state', 'Of the sign-in that was begun'),
      query('code', 'What the provider gives out for it'),
      query('iss', 'Who the provider says it is (RFC 9207)'),
      query('error', 'Why the provider did not'),
    ],
  ),
  '/sign-in/oidc/back-channel-logout': {
    post: {
      operationId: 'postSignInOidcBackChannelLogout',
      summary: 'Told by the provider that sessions have ended (OpenID Connect Back-Channel Logout)',
      description: 'The token is signed by the provider',
      tags: ['sign-in'],
      security: [],
      parameters: [],
      requestBody: {
        required: true,
        content: {
          'application/x-www-form-urlencoded': {
            schema: {
              type: 'object',
              required: ['logout_token'],
              properties: { logout_token: { type: 'string' } },
            },
          },
        },
      },
      responses: {
        200: { description: 'They have' },
        400: refused('No such token, or it does not verify'),
        404: refused('No identity provider is set up'),
        413: refused('Longer than 20 kB'),
        415: refused('In another encoding'),
        429: refused('Too many'),
        500: refused('A fault of the server'),
        503: refused('The provider does not answer'),
      },
    },
  },
  '/sign-out': {
    post: {
      operationId: 'postSignOut',
      summary: 'End the session of the cookie',
      description: 'From a page of this server; without a session it does nothing',
      tags: ['sign-in'],
      security: [{ session: [], ownPage: [] }, { ownPage: [] }],
      parameters: [],
      responses: {
        200: {
          description: 'Signed out',
          content: {
            'application/json': {
              schema: {
                type: 'object',
                required: ['endSessionUrl'],
                properties: {
                  endSessionUrl: {
                    type: ['string', 'null'],
                    description: 'Where the session at the provider is ended',
                  },
                },
              },
            },
          },
        },
        403: refused('From elsewhere than a page of this server'),
        500: refused('A fault of the server'),
        503: refused('The database does not answer'),
      },
    },
  },
}
