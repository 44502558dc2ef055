import { get } from 'node:https'

import { loadConfig } from './config.ts'

// For a container's HEALTHCHECK: whether the process beside this one answers. Its certificate is not looked at, which is no secret from itself.
const { ports, bind } = loadConfig(process.env)
const host = bind === '0.0.0.0' || bind === '::' ? '127.0.0.1' : bind
const options = {
  host,
  port: ports.api,
  path: '/healthz',
  rejectUnauthorized: false,
  timeout: 4_000,
}
const request = get(options, (response) => {
  response.resume()
  process.exitCode = response.statusCode === 200 ? 0 : 1
})
request.once('timeout', () => request.destroy(new Error('no answer')))
request.once('error', () => (process.exitCode = 1))
