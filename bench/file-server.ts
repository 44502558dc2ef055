import { createReadStream, readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { pipeline } from 'node:stream/promises'

/** The floor: bare node:https that asks for a client certificate and serves ranges of one file. Prints its port. */
const [, , folder = '', file = ''] = process.argv
const read = (name: string) => readFileSync(`${folder}/${name}`)
const server = createServer(
  {
    key: read('server.key'),
    cert: read('server.pem'),
    ca: read('ca.pem'),
    requestCert: true,
    rejectUnauthorized: true,
    ALPNProtocols: ['http/1.1'],
    noDelay: true,
    keepAliveTimeout: 60_000,
  },
  (request, response) => {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
    const [start, end] = [Number(first), Number(last)]
    response.writeHead(206, { 'content-length': end - start + 1 })
    pipeline(createReadStream(file, { start, end }), response).catch(() => {})
  },
)
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  console.log(`port ${typeof address === 'object' ? address?.port : ''}`)
})
