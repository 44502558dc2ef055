import { createServer, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Writable } from 'node:stream'

import { afterEach, expect, test } from 'vitest'

import { S3Bucket } from '../../server/artifacts/s3-bucket.ts'
import { probeBucket } from '../../server/artifacts/s3-health.ts'
import { openS3Storage } from '../../server/artifacts/s3-storage.ts'
import { systemClock } from '../../server/clock.ts'
import { ConfigError } from '../../server/config.ts'
import { judgeStorage } from '../../server/doctor/examine-storage.ts'
import { createLogger } from '../../server/log.ts'
import type { S3Settings } from '../../server/s3-config.ts'

// What Amazon S3 answers with, kept to what the client looks at; no store of the tests checks signatures.
const ends: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

async function store(answer: RequestListener): Promise<S3Settings> {
  const server = createServer((request, response) => {
    request.resume().once('end', () => answer(request, response))
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  ends.push(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bucket: 'fleet',
    region: 'us-east-1',
    accessKeyId: 'the-key-id',
    secretAccessKey: 'the-secret',
    prefix: '',
    pathStyle: true,
  }
}

interface Refusal {
  status: number
  code: string
  more?: string
  headers?: Record<string, string>
}

function refuse(response: ServerResponse, { status, code, more = '', headers = {} }: Refusal) {
  response.writeHead(status, { 'content-type': 'application/xml', ...headers })
  response.end(
    `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>Not so</Message>${more}` +
      '<AWSAccessKeyId>the-key-id</AWSAccessKeyId><StringToSign>the-string</StringToSign><RequestId>1</RequestId></Error>',
  )
}

const refusals: [string, Refusal, RegExp][] = [
  [
    'a key that it does not know',
    { status: 403, code: 'InvalidAccessKeyId' },
    /does not know FLEETSEAL_S3_ACCESS_KEY_ID/,
  ],
  [
    'a wrong secret',
    { status: 403, code: 'SignatureDoesNotMatch' },
    /FLEETSEAL_S3_SECRET_ACCESS_KEY is not the secret/,
  ],
  [
    'no right to it',
    { status: 403, code: 'AccessDenied' },
    /Allow the keys s3:PutObject, s3:AbortMultipartUpload/,
  ],
  [
    'another region, by redirect',
    { status: 301, code: 'PermanentRedirect', headers: { 'x-amz-bucket-region': 'eu-west-1' } },
    /FLEETSEAL_S3_REGION.*it is eu-west-1$/,
  ],
  [
    'another region, in the body',
    { status: 400, code: 'AuthorizationHeaderMalformed', more: '<Region>eu-north-1</Region>' },
    /FLEETSEAL_S3_REGION.*it is eu-north-1$/,
  ],
  [
    'a region that is none',
    { status: 400, code: 'AuthorizationHeaderMalformed', more: '<Region>the key</Region>' },
    /FLEETSEAL_S3_PATH_STYLE as the store wants them \(docs\/storage\.md\)$/,
  ],
  [
    'no such bucket',
    { status: 404, code: 'NoSuchBucket' },
    /Make the bucket, or set FLEETSEAL_S3_BUCKET/,
  ],
  ['a temporary key', { status: 400, code: 'ExpiredToken' }, /set ones that last/],
  [
    'something unheard of',
    { status: 404, code: 'the-secret &amp; more' },
    /FLEETSEAL_S3_ENDPOINT speaks S3/,
  ],
]

test.each(refusals)(
  'of %s the start and the doctor say what mends it',
  async (_what, refusal, said) => {
    const settings = await store((_request, response) => refuse(response, refusal))
    const lines: string[] = []
    const sink = new Writable({ write: (line, _, done) => (lines.push(String(line)), done()) })
    const opening = openS3Storage(settings, {
      clock: systemClock,
      log: createLogger('trace', sink),
    })
    const error: unknown = await opening.then(
      () => undefined,
      (refused: unknown) => refused,
    )
    expect(error).toBeInstanceOf(ConfigError)
    const text = error instanceof Error ? error.message : ''
    expect(text).toContain(`refuses to write an object in the bucket fleet (${refusal.status} `)
    expect(text).toMatch(said)

    using bucket = await S3Bucket.open(settings)
    const finding = judgeStorage('fleet', await probeBucket(bucket))
    expect(finding).toMatchObject({ check: 'storage', level: 'error' })
    expect(finding.fix).toMatch(said)
    for (const shown of [text, JSON.stringify(finding), ...lines])
      expect(shown).not.toMatch(/the-key-id|the-secret|the-string|Not so/)
  },
)

test('keys that may write and not read, or not remove, are told of by name', async () => {
  const mayNot = async (method: string) => {
    const settings = await store((request, response) => {
      if (request.method === method) return refuse(response, { status: 403, code: 'AccessDenied' })
      response.writeHead(request.method === 'DELETE' ? 204 : 200)
      response.end(request.method === 'GET' ? 'fleetseal' : undefined)
    })
    return await openS3Storage(settings, { clock: systemClock, log: createLogger('silent') })
  }
  await expect(mayNot('GET')).rejects.toThrow(/refuses to read.*s3:GetObject and s3:ListBucket/)
  await expect(mayNot('DELETE')).rejects.toThrow(/refuses to remove.*s3:DeleteObject/)
  await using open = await mayNot('PATCH')
  expect(open.remote?.name).toBe('fleet')
})

test('a store that is busy, or answers with something that is not S3, keeps nobody from starting or says where it is', async () => {
  const busy = await store((_request, response) =>
    refuse(response, { status: 503, code: 'SlowDown' }),
  )
  await using open = await openS3Storage(busy, {
    clock: systemClock,
    log: createLogger('silent'),
  })
  expect(open.remote?.state()).toBe('degraded')
  const page = await store((_request, response) => response.writeHead(404).end('<html>no</html>'))
  const opening = openS3Storage(page, { clock: systemClock, log: createLogger('silent') })
  await expect(opening).rejects.toThrow(/FLEETSEAL_S3_ENDPOINT speaks S3/)
})
