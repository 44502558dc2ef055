import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { parseArgs } from 'node:util'

import { demoClientId, startDemoProvider } from './oidc-provider.ts'

const usage = `node demo/oidc.ts [--port N] [--fleetseal URL] [--ca FILE] [--secret TEXT]

  An OpenID provider on this machine, to try signing in with. Any password is right.

  --port N         where it listens, on the loopback address (9400)
  --fleetseal URL  where Fleetseal is (https://localhost:8443)
  --ca FILE        what Fleetseal's certificate is verified with (data/ca/root.pem)
  --secret TEXT    the client's secret (demo-secret)
`

/** Who there is, and what the claim `roles` says of them. */
const people = {
  alice: { name: 'Alice Adams', email: 'alice@example.com', roles: ['fleet-admins'] },
  bob: { name: 'Bob Brown', email: 'bob@example.com', roles: ['fleet-viewers'] },
  carol: { name: 'Carol Clark', email: 'carol@example.com', roles: [] },
}

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '9400' },
    fleetseal: { type: 'string', default: 'https://localhost:8443' },
    ca: { type: 'string', default: 'data/ca/root.pem' },
    secret: { type: 'string', default: 'demo-secret' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  console.log(usage)
} else {
  // It tells Fleetseal when a session ends there.
  setDefaultCACertificates([...getCACertificates('default'), await readFile(values.ca, 'utf8')])
  const { port, fleetseal, secret } = values
  await using provider = await startDemoProvider({
    port: Number(port),
    fleetseal,
    clientSecret: secret,
    people,
  })
  console.log(`provider ready issuer=${provider.issuer} client=${demoClientId}`)
  console.log(`people: ${Object.keys(people).join(', ')}; any password`)
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort())
  if (!stop.signal.aborted) await once(stop.signal, 'abort')
}
