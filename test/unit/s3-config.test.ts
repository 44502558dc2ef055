import { describe, expect, test } from 'vitest'

import { ConfigError, loadConfig } from '../../server/config.ts'

const whole = {
  FLEETSEAL_S3_ENDPOINT: 'https://s3.example',
  FLEETSEAL_S3_BUCKET: 'artifacts',
  FLEETSEAL_S3_ACCESS_KEY_ID: 'a-key',
  FLEETSEAL_S3_SECRET_ACCESS_KEY: 'a-secret',
}

test('without any of it artifacts are in the data directory', () => {
  expect(loadConfig({}).s3).toBeUndefined()
})

test('a bucket has a region, a prefix that ends in a slash, and path style', () => {
  expect(loadConfig({ ...whole, FLEETSEAL_S3_PREFIX: 'fleet/one' }).s3).toEqual({
    endpoint: 'https://s3.example',
    bucket: 'artifacts',
    region: 'us-east-1',
    accessKeyId: 'a-key',
    secretAccessKey: 'a-secret',
    prefix: 'fleet/one/',
    pathStyle: true,
  })
})

test.each(Object.keys(whole))('%s is missed by name', (name) => {
  const load = () => loadConfig({ ...whole, [name]: undefined })
  expect(load).toThrow(ConfigError)
  expect(load).toThrow(`${name}: needed for artifacts in a bucket`)
})

test('plain http is for this machine, or for who says so', () => {
  const to = (url: string) => () => loadConfig({ ...whole, FLEETSEAL_S3_ENDPOINT: url })
  for (const url of ['http://127.0.0.1:9000', 'http://localhost:9000', 'http://[::1]:9000'])
    expect(to(url)).not.toThrow()
  for (const url of ['http://s3.example', 'http://127.0.0.1.example', 'http://10.0.0.1'])
    expect(to(url)).toThrow('FLEETSEAL_S3_ENDPOINT: must be https')
  const allowed = { ...whole, FLEETSEAL_S3_PLAIN_HTTP: 'allow' }
  expect(() => loadConfig({ ...allowed, FLEETSEAL_S3_ENDPOINT: 'http://10.0.0.1' })).not.toThrow()
})

test.each([
  ['FLEETSEAL_S3_ENDPOINT', 'ftp://s3.example'],
  ['FLEETSEAL_S3_ENDPOINT', 'https://a:b@s3.example'],
  ['FLEETSEAL_S3_BUCKET', 'Not_A_Bucket'],
  ['FLEETSEAL_S3_PREFIX', '../up'],
  ['FLEETSEAL_S3_REGION', 'a b'],
  ['FLEETSEAL_MAX_ARTIFACT_MB', '80001'],
])('%s cannot be %s', (name, value) => {
  const load = () => loadConfig({ ...whole, [name]: value })
  expect(load).toThrow(name)
  expect(load).not.toThrow('a-secret')
})

test('backups leave out what is in a bucket, and say so to who asks for it', () => {
  const backups = { FLEETSEAL_BACKUP_DIR: '/b', FLEETSEAL_BACKUP_KEY_FILE: '/k' }
  expect(loadConfig(backups).backup?.includes).toEqual(['artifacts'])
  expect(loadConfig({ ...backups, ...whole }).backup?.includes).toEqual([])
  expect(() =>
    loadConfig({ ...backups, ...whole, FLEETSEAL_BACKUP_INCLUDE: 'artifacts,kek' }),
  ).toThrow('FLEETSEAL_BACKUP_INCLUDE: artifacts in a bucket')
})

describe('links for devices', () => {
  const on = { ...whole, FLEETSEAL_S3_REDIRECT: 'on' }

  test('are off, and when on good for five minutes by the host of the store', () => {
    expect(loadConfig(whole).s3?.redirect).toBeUndefined()
    expect(loadConfig(on).s3?.redirect).toEqual({
      endpoint: 'https://s3.example',
      lifeSeconds: 300,
    })
  })

  test('name the host that devices use, where that is another', () => {
    const outside = {
      ...on,
      FLEETSEAL_S3_ENDPOINT: 'http://10.0.0.1:9000',
      FLEETSEAL_S3_PLAIN_HTTP: 'allow',
    }
    expect(() => loadConfig(outside)).toThrow('FLEETSEAL_S3_ENDPOINT: must be https')
    const named = { ...outside, FLEETSEAL_S3_REDIRECT_ENDPOINT: 'https://files.example' }
    expect(loadConfig(named).s3).toMatchObject({
      endpoint: 'http://10.0.0.1:9000',
      redirect: { endpoint: 'https://files.example' },
    })
  })

  test.each([
    ['FLEETSEAL_S3_REDIRECT', 'always'],
    ['FLEETSEAL_S3_REDIRECT_SECONDS', '59'],
    ['FLEETSEAL_S3_REDIRECT_SECONDS', '3601'],
    ['FLEETSEAL_S3_REDIRECT_ENDPOINT', 'http://files.example'],
    ['FLEETSEAL_S3_REDIRECT_ENDPOINT', 'https://a:b@files.example'],
  ])('%s cannot be %s', (name, value) => {
    expect(() => loadConfig({ ...on, [name]: value })).toThrow(name)
  })

  test('without a bucket are refused', () => {
    expect(() => loadConfig({ FLEETSEAL_S3_REDIRECT: 'on' })).toThrow(
      'FLEETSEAL_S3_REDIRECT: needs a bucket',
    )
  })
})
