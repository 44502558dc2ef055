import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'

/** The floor: bare node:https that asks for a client certificate and answers every poll with the same text. Prints its port. */
const [, , folder = ''] = process.argv
const read = (name: string) => readFileSync(`${folder}/${name}`)
const body = JSON.stringify({ config: { polling: { sleep: '00:05:00' } }, _links: {} })
const server = createServer(
  {
    key: read('server.key'),
    cert: read('server.pem'),
    ca: read('ca.pem'),
    requestCert: true,
    rejectUnauthorized: true,
    ALPNProtocols: ['http/1.1'],
    noDelay: true,
    keepAliveTimeout: 600_000,
  },
  (_request, response) => {
    response.writeHead(200, {
      'content-type': 'application/json; charset=utf-8',
      'content-length': body.length,
    })
    response.end(body)
  },
)
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  console.log(`port ${typeof address === 'object' ? address?.port : ''}`)
})
