import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect, type TLSSocket } from 'node:tls'
import { promisify } from 'node:util'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { openssl, opensslVersion, scratchDirectory } from '../support/openssl.ts'
import { type RunningServer, startServer } from '../support/server.ts'

const run = promisify(execFile)

let server: RunningServer
let ca: string
const folder = scratchDirectory()
const file = (name: string) => `${folder.path}/${name}`

beforeAll(async () => {
  server = await startServer({ FLEETSEAL_OPERATOR_CERTIFICATES: 'ask' })
  ca = await readFile(server.ca, 'utf8')
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  folder[Symbol.dispose]()
})

function makeCertificate(name: string): void {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  const files = ['-keyout', file(`${name}.key`), '-out', file(`${name}.pem`)]
  openssl('req', '-x509', ...key, ...files, '-subj', `/CN=${name}`, '-days', '30')
}

/** `curl`, with an API key or a certificate; gives status and body. */
async function curl(path: string, ...more: string[]) {
  const url = `https://localhost:${server.ports.api}/api/v1${path}`
  const args = ['--silent', '--cacert', server.ca, '--write-out', '\n%{http_code}', ...more, url]
  const { stdout } = await run('curl', args)
  const [status = '', ...lines] = stdout.split('\n').toReversed()
  const text = lines.toReversed().join('\n')
  const body = (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>
  return { status: Number(status), body }
}
const asAdmin = async () => ['--header', `Authorization: Bearer ${await server.apiKey()}`]
const withCertificate = (name: string) => [
  '--cert',
  file(`${name}.pem`),
  '--key',
  file(`${name}.key`),
]
const json = (body: object) => [
  '--header',
  'Content-Type: application/json',
  '--data',
  JSON.stringify(body),
]
async function register(name: string, role: string) {
  const certificate = await readFile(file(`${name}.pem`), 'utf8')
  const body = json({ name, certificate, role })
  return await curl('/operator-certificates', ...(await asAdmin()), ...body)
}

test.skipIf(opensslVersion === undefined)(
  'a registered certificate opens the interface, one that is not does not, and nobody needs one',
  async () => {
    makeCertificate('robot')
    makeCertificate('stranger')
    const made = await register('robot', 'viewer')
    expect(made.status).toBe(201)
    const me = await curl('/operators/me', ...withCertificate('robot'))
    expect(me).toMatchObject({ status: 200, body: { name: 'robot', role: 'viewer' } })
    expect(me.body['id']).toBe(`certificate:${String(made.body['id'])}`)
    expect((await curl('/operators/me', ...withCertificate('stranger'))).status).toBe(401)
    expect((await curl('/operators/me')).status).toBe(401)
    expect((await curl('/operators/me', ...(await asAdmin()))).status).toBe(200)
    // A key that is shown as well is meant.
    const both = await curl('/operators/me', ...(await asAdmin()), ...withCertificate('robot'))
    expect(both.body['role']).toBe('admin')
    expect((await register('robot', 'viewer')).status).toBe(409)
    expect(
      (await curl('/groups', ...withCertificate('robot'), ...json({ name: 'x' }))).status,
    ).toBe(403)
  },
)

test.skipIf(opensslVersion === undefined)(
  'a page of another origin changes nothing with the certificate of its visitor',
  async () => {
    makeCertificate('person')
    expect((await register('person', 'admin')).status).toBe(201)
    const make = async (...headers: string[]) => {
      const given = headers.flatMap((one) => ['--header', one])
      const body = json({ name: `g${headers.length}` })
      return (await curl('/groups', ...withCertificate('person'), ...body, ...given)).status
    }
    expect(await make('Origin: https://evil.example')).toBe(403)
    expect(await make('Sec-Fetch-Site: cross-site', 'X-Fleetseal-Request: 1')).toBe(403)
    expect(await make()).toBe(201)
    const own = `Origin: https://localhost:${server.ports.api}`
    expect(await make(own, 'Sec-Fetch-Site: same-origin', 'X-Fleetseal-Request: 1')).toBe(201)
  },
)

/** One request on a TLS connection of its own; gives its status and what the next one can resume. */
async function ask(name: string, before?: Buffer) {
  const socket: TLSSocket = connect({
    host: 'localhost',
    port: server.ports.api,
    ca,
    cert: await readFile(file(`${name}.pem`), 'utf8'),
    key: await readFile(file(`${name}.key`), 'utf8'),
    maxVersion: 'TLSv1.2',
    ...(before ? { session: before } : {}),
  })
  await once(socket, 'secureConnect')
  const resumed = socket.isSessionReused()
  const session = socket.getSession()
  socket.write('GET /api/v1/operators/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
  let text = ''
  for await (const chunk of socket) text += String(chunk)
  return { status: Number(text.split(' ')[1]), resumed, session }
}

test.skipIf(opensslVersion === undefined)(
  'a revoked certificate opens nothing, also where a TLS session of it is resumed',
  async () => {
    makeCertificate('leaver')
    const id = String((await register('leaver', 'viewer')).body['id'])
    const first = await ask('leaver')
    const second = await ask('leaver', first.session)
    expect([first.status, second.status, second.resumed]).toEqual([200, 200, true])
    const path = `/operator-certificates/${id}`
    expect((await curl(path, ...(await asAdmin()), '--request', 'DELETE')).status).toBe(204)
    const third = await ask('leaver', second.session)
    expect([third.status, third.resumed]).toEqual([401, true])
    expect((await ask('leaver')).status).toBe(401)
    const list = await curl('/operator-certificates', ...(await asAdmin()))
    expect(JSON.stringify(list.body)).toContain('"revokedAt":"2')
  },
)
