import { describe, expect, test } from 'vitest'

import { ConfigError, loadConfig } from '../../server/config.ts'
import { startProblem } from '../../server/start-problem.ts'

describe('a port', () => {
  test.each(['', ' 8443', '0x20FB', '8443.0', '65536', '-1', '1e3', 'many'])(
    'that is %j is a mistake, and not just any port',
    (port) => {
      const load = () => loadConfig({ FLEETSEAL_MQTT_PORT: port })
      expect(load).toThrow(ConfigError)
      expect(load).toThrow('FLEETSEAL_MQTT_PORT: must be a port number')
    },
  )

  test('may be 0, any free one, up to 65535, and has a default', () => {
    const { ports } = loadConfig({ FLEETSEAL_API_PORT: '0', FLEETSEAL_MQTT_PORT: '65535' })
    expect(ports).toEqual({ api: 0, device: 8444, mqtt: 65_535, public: 8080 })
  })
})

describe('the same port twice', () => {
  test('is named for each, together with every other mistake', () => {
    const load = () =>
      loadConfig({
        FLEETSEAL_API_PORT: '9000',
        FLEETSEAL_DEVICE_PORT: '9000',
        FLEETSEAL_MQTT_PORT: '9000',
        FLEETSEAL_BIND: 'everywhere',
      })
    expect(load).toThrow(ConfigError)
    for (const name of ['FLEETSEAL_DEVICE_PORT', 'FLEETSEAL_MQTT_PORT']) {
      expect(load).toThrow(`${name}: 9000 is the port of FLEETSEAL_API_PORT too`)
    }
    expect(load).toThrow('FLEETSEAL_BIND: must be an IP address')
  })

  test('also when the other one is a default', () => {
    expect(() => loadConfig({ FLEETSEAL_PUBLIC_PORT: '8443' })).toThrow(
      'FLEETSEAL_PUBLIC_PORT: 8443 is the port of FLEETSEAL_API_PORT too',
    )
  })

  test('is fine when it is 0, or when the other one has moved away', () => {
    const { ports } = loadConfig({
      FLEETSEAL_API_PORT: '0',
      FLEETSEAL_DEVICE_PORT: '0',
      FLEETSEAL_PUBLIC_PORT: '8443',
    })
    expect(ports).toEqual({ api: 0, device: 0, mqtt: 8883, public: 8443 })
  })
})

describe('what keeps the server from starting', () => {
  const url = 'postgres://somebody:hunter2@db.example/x'
  const config = loadConfig({ DATABASE_URL: url })
  const error = (facts: object) => Object.assign(new Error('unfriendly'), facts)

  test('names the variable of the port that cannot be had', () => {
    const inUse = error({ code: 'EADDRINUSE', syscall: 'listen', port: 8444 })
    expect(startProblem(inUse, config)).toMatch(/^Port 8444 .*in use.*FLEETSEAL_DEVICE_PORT$/)
  })

  test.each(['ECONNREFUSED', '28P01', '3D000'])(
    'says what is wrong with the database: %s',
    (code) => {
      const problem = startProblem(error({ code }), config)
      expect(problem).toContain('DATABASE_URL')
      expect(problem).not.toContain('hunter2')
    },
  )

  test('is our bug when it is anything else', () => {
    for (const other of [error({ code: '42P01' }), new TypeError('x'), 'text', undefined]) {
      expect(startProblem(other, config)).toBeUndefined()
    }
    expect(startProblem(error({ code: 'ECONNREFUSED' }), loadConfig({}))).toBeUndefined()
  })
})

describe('several processes', () => {
  const DATABASE_URL = 'postgres://localhost/x'

  test('need a database that more than one can open', () => {
    const alone = /FLEETSEAL_BROKERS: only one process can open the embedded database/
    expect(() => loadConfig({ FLEETSEAL_BROKERS: '2' })).toThrow(alone)
    expect(() => loadConfig({ FLEETSEAL_ROLE: 'broker' })).toThrow(/FLEETSEAL_ROLE: only one/)
    expect(loadConfig({ DATABASE_URL, FLEETSEAL_BROKERS: '2' })).toMatchObject({
      role: 'all',
      brokers: 2,
      databaseConnections: 10,
      brokerConnections: 10,
    })
  })

  test('are started by a process that is the whole server, in a number that can be', () => {
    for (const role of ['api', 'broker']) {
      const given = { DATABASE_URL, FLEETSEAL_ROLE: role }
      expect(loadConfig(given)).toMatchObject({ role, brokers: 0 })
      expect(() => loadConfig({ ...given, FLEETSEAL_BROKERS: '2' })).toThrow('starts no others')
    }
    for (const brokers of ['65', '-1', '1.5', 'many', '']) {
      expect(() => loadConfig({ DATABASE_URL, FLEETSEAL_BROKERS: brokers })).toThrow(
        'FLEETSEAL_BROKERS: must be a number from 0 to 64',
      )
    }
  })

  test('have a port for metrics where they have none for operators', () => {
    const broker = { DATABASE_URL, FLEETSEAL_ROLE: 'broker', FLEETSEAL_METRICS_PORT: '9464' }
    expect(loadConfig(broker).metricsPort).toBe(9464)
    expect(() => loadConfig({ ...broker, FLEETSEAL_ROLE: 'api' })).toThrow(
      'FLEETSEAL_METRICS_PORT: only for FLEETSEAL_ROLE=broker',
    )
    const inUse = Object.assign(new Error('x'), {
      code: 'EADDRINUSE',
      syscall: 'listen',
      port: 9464,
    })
    expect(startProblem(inUse, loadConfig(broker))).toContain('FLEETSEAL_METRICS_PORT')
  })

  test('share what the database allows', () => {
    const many = { DATABASE_URL, FLEETSEAL_BROKERS: '64' }
    expect(loadConfig(many).brokerConnections).toBe(3)
    expect(loadConfig({ ...many, FLEETSEAL_DATABASE_CONNECTIONS: '5' })).toMatchObject({
      databaseConnections: 5,
      brokerConnections: 5,
    })
  })
})
