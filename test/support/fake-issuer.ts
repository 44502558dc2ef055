import { createServer, type ServerResponse } from 'node:http'

import {
  exportJWK,
  generateKeyPair,
  type JWTHeaderParameters,
  type JWTPayload,
  SignJWT,
} from 'jose'

export interface FakeIssuer extends AsyncDisposable {
  issuer: string
  /** How many requests it was asked for each path. */
  asked: Map<string, number>
  /** Answers instead of the usual ones, by path. */
  answers: Map<string, (res: ServerResponse) => void>
  /** A token of this issuer for five minutes; claims that are undefined are left out. */
  sign: (claims: JWTPayload, header?: Partial<JWTHeaderParameters>) => Promise<string>
  /** Signed with a key that it never published, under the id of one that it did. */
  forge: (claims: JWTPayload) => Promise<string>
}

/** Describes itself and its keys, and signs whatever a test wants to have signed. */
export async function startFakeIssuer(): Promise<FakeIssuer> {
  const [own, foreign] = [await generateKeyPair('ES256'), await generateKeyPair('ES256')]
  const keys = [{ ...(await exportJWK(own.publicKey)), kid: 'one', alg: 'ES256', use: 'sig' }]
  const asked = new Map<string, number>()
  const answers: FakeIssuer['answers'] = new Map()
  let issuer = ''
  const server = createServer((req, res) => {
    const path = req.url ?? ''
    asked.set(path, (asked.get(path) ?? 0) + 1)
    const other = answers.get(path)
    if (other) return other(res)
    const json = (value: object) => {
      res.setHeader('Content-Type', 'application/json')
      res.end(JSON.stringify(value))
    }
    if (path === '/jwks') return json({ keys })
    if (path !== '/.well-known/openid-configuration') return void res.writeHead(404).end()
    json({
      issuer,
      jwks_uri: `${issuer}/jwks`,
      authorization_endpoint: `${issuer}/auth`,
      token_endpoint: `${issuer}/token`,
      response_types_supported: ['code'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['ES256'],
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  issuer = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
  const signed = async (
    key: Parameters<SignJWT['sign']>[0],
    claims: JWTPayload,
    header: Partial<JWTHeaderParameters>,
  ) => {
    const now = Math.floor(Date.now() / 1000)
    const all = { iss: issuer, iat: now, exp: now + 300, ...claims }
    const protectedHeader = { alg: 'ES256', kid: 'one', typ: 'JWT', ...header }
    return await new SignJWT(all).setProtectedHeader(protectedHeader).sign(key)
  }
  return {
    issuer,
    asked,
    answers,
    sign: async (claims, header = {}) => await signed(own.privateKey, claims, header),
    forge: async (claims) => await signed(foreign.privateKey, claims, {}),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}
