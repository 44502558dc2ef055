import { isIP } from 'node:net'

import { describe, expect, it } from 'vitest'

import { isListed, parseNetworks, readProxyHeader } from '../../server/proxy-header.ts'
import { SeededRandom } from '../support/fleet/random.ts'

const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')

function header(command: number, transport: number, body: Buffer): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(body.length)
  return Buffer.concat([signature, Buffer.from([command, transport]), length, body])
}

const ipv4 = Buffer.from([192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 0x22, 0xb3])

describe('a PROXY header', () => {
  it('says the address and port of the peer, and how long it is', () => {
    const data = Buffer.concat([header(0x21, 0x11, ipv4), Buffer.from('TLS')])
    const peer = { address: '192.0.2.7', port: 8080, family: 'IPv4' }
    expect(readProxyHeader(data)).toEqual({ state: 'done', bytes: 28, peer })
  })

  it('says an address of version 6 in its one spelling', () => {
    const body = Buffer.alloc(36)
    Buffer.from('20010db8', 'hex').copy(body)
    body.writeUInt8(1, 15)
    body.writeUInt16BE(443, 32)
    const peer = { address: '2001:db8::1', port: 443, family: 'IPv6' }
    expect(readProxyHeader(header(0x21, 0x21, body))).toEqual({ state: 'done', bytes: 52, peer })
  })

  it('says an address of version 4 as such, also where the proxy says it as one of version 6', () => {
    const body = Buffer.alloc(36)
    Buffer.from('00000000000000000000ffffc0000207', 'hex').copy(body)
    body.writeUInt16BE(8080, 32)
    const peer = { address: '192.0.2.7', port: 8080, family: 'IPv4' }
    expect(readProxyHeader(header(0x21, 0x21, body))).toEqual({ state: 'done', bytes: 52, peer })
  })

  it('may be followed by what is skipped, and may be of the proxy itself', () => {
    const extended = Buffer.concat([ipv4, Buffer.from([3, 0, 4, 1, 2, 3, 4])])
    expect(readProxyHeader(header(0x21, 0x11, extended))).toMatchObject({ bytes: 35 })
    expect(readProxyHeader(header(0x20, 0, Buffer.alloc(0)))).toEqual({ state: 'done', bytes: 16 })
  })

  it('is awaited byte by byte', () => {
    const whole = header(0x21, 0x11, ipv4)
    for (let length = 0; length < whole.length; length += 1) {
      expect(readProxyHeader(whole.subarray(0, length))).toEqual({ state: 'more' })
    }
  })

  it('is refused at the first byte that is none', () => {
    for (let at = 0; at < signature.length; at += 1) {
      const wrong = Buffer.from(signature.subarray(0, at + 1))
      wrong.writeUInt8(wrong.readUInt8(at) ^ 1, at)
      expect(readProxyHeader(wrong)).toEqual({ state: 'bad' })
    }
    expect(readProxyHeader(Buffer.from([0x16, 3, 1]))).toEqual({ state: 'bad' })
    expect(readProxyHeader(Buffer.from('PROXY TCP4 1.2.3.4'))).toEqual({ state: 'bad' })
  })

  it.each([
    ['another version', header(0x11, 0x11, ipv4)],
    ['an unknown command', header(0x22, 0x11, ipv4)],
    ['UDP', header(0x21, 0x12, ipv4)],
    ['a body too short for its addresses', header(0x21, 0x11, ipv4.subarray(1))],
    ['an announced length of 10 KB', header(0x21, 0x11, Buffer.alloc(10_240)).subarray(0, 16)],
    ['one byte above the bound', header(0x21, 0x11, Buffer.alloc(521))],
  ])('is refused with %s', (_, data) => {
    expect(readProxyHeader(data)).toEqual({ state: 'bad' })
  })
})

/** Headers that are accepted, from short to as long as they may be. */
function someHeader(random: SeededRandom): Buffer {
  const isLong = random.isOneOf(0.5)
  const rest = random.bytes(random.isOneOf(0.2) ? 484 : random.between(0, 60))
  if (random.isOneOf(0.2)) return header(0x20, random.between(0, 255), rest)
  const addresses = random.bytes(isLong ? 36 : 12)
  return header(0x21, isLong ? 0x21 : 0x11, Buffer.concat([addresses, rest]))
}

function changed(data: Buffer, random: SeededRandom): Buffer {
  const copy = Buffer.from(data)
  for (let n = random.between(1, 4); n > 0; n -= 1) {
    copy.writeUInt8(random.between(0, 255), random.between(0, copy.length - 1))
  }
  if (random.isOneOf(0.3)) return copy.subarray(0, random.between(0, copy.length))
  if (random.isOneOf(0.3)) return Buffer.concat([copy, random.bytes(random.between(1, 700))])
  return copy
}

describe('whatever comes', () => {
  it('no change makes it throw, take more than 536 bytes or than there are, or say what is no address', () => {
    const random = new SeededRandom(47)
    const seen = { bad: 0, done: 0, more: 0 }
    for (let n = 0; n < 5_000; n += 1) {
      const data = changed(someHeader(random), random)
      const read = readProxyHeader(data)
      seen[read.state] += 1
      if (read.state === 'more') expect(data.length).toBeLessThan(536)
      if (read.state !== 'done') continue
      expect(data.subarray(0, 12).equals(signature)).toBe(true)
      expect(read.bytes).toBeLessThanOrEqual(Math.min(536, data.length))
      expect(read.bytes).toBe(16 + data.readUInt16BE(14))
      if (read.peer) expect(isIP(read.peer.address)).toBe(read.peer.family === 'IPv4' ? 4 : 6)
    }
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(100)
  })

  it('a changed signature is refused, whatever follows', () => {
    const random = new SeededRandom(48)
    for (let n = 0; n < 1_000; n += 1) {
      const data = someHeader(random)
      const at = random.between(0, signature.length - 1)
      data.writeUInt8(data.readUInt8(at) ^ random.between(1, 255), at)
      const part = data.subarray(0, random.between(at + 1, data.length))
      expect([readProxyHeader(data).state, readProxyHeader(part).state]).toEqual(['bad', 'bad'])
    }
  })

  it('a header cut anywhere is awaited, and what follows a whole one changes nothing', () => {
    const random = new SeededRandom(49)
    for (let n = 0; n < 1_000; n += 1) {
      const data = someHeader(random)
      const whole = readProxyHeader(data)
      expect(whole).toMatchObject({ state: 'done', bytes: data.length })
      const part = data.subarray(0, random.between(0, data.length - 1))
      expect(readProxyHeader(part)).toEqual({ state: 'more' })
      expect(readProxyHeader(Buffer.concat([data, random.bytes(40)]))).toEqual(whole)
    }
  })
})

describe('a list of networks', () => {
  it('knows an IPv4 address that came to a listener of both versions, and one with its interface', () => {
    const networks = parseNetworks('10.0.0.0/8,fe80::/10')
    const listed = (address: string) => networks && isListed(networks, address)
    for (const address of ['10.1.2.3', '::ffff:10.1.2.3', 'fe80::1', 'fe80::1%eth0']) {
      expect([address, listed(address)]).toEqual([address, true])
    }
    for (const address of ['11.1.2.3', '::ffff:11.1.2.3', '2001:db8::1', '::']) {
      expect([address, listed(address)]).toEqual([address, false])
    }
  })

  it('has addresses and networks of both versions', () => {
    const networks = parseNetworks('10.0.0.0/8, 192.0.2.1,2001:db8::/32')
    expect(networks?.check('10.9.9.9', 'ipv4')).toBe(true)
    expect(networks?.check('192.0.2.2', 'ipv4')).toBe(false)
    expect(networks?.check('2001:db8::5', 'ipv6')).toBe(true)
  })

  it.each(['', 'host', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', '::1/129', '1.2.3.4,'])(
    'is refused: %j',
    (list) => expect(parseNetworks(list)).toBeUndefined(),
  )

  it('is bounded', () => {
    const many = (count: number) => Array.from({ length: count }, () => '10.0.0.1').join(',')
    expect(parseNetworks(many(64))).toBeDefined()
    expect(parseNetworks(many(65))).toBeUndefined()
  })
})
