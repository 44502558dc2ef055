import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'

import { buildCrl, signCrl } from '../pki/crl/build.ts'
import { generatePrivateKey } from '../pki/keys.ts'
import { encodeName } from '../pki/names.ts'
import { softwareSigner } from '../pki/signer.ts'

/* A process of its own, so that its peak memory is that of this work: prints milliseconds, peak bytes and the size. */

const entries = Number(process.argv[2] ?? 100_000)
const signer = softwareSigner(generatePrivateKey('P-256'))
const now = new Date(Math.floor(Date.now() / 1_000) * 1_000)
// As a database driver gives them: slices of what came over the wire.
const random = randomBytes(16 * entries)
const revoked = Array.from({ length: entries }, (_, n) => {
  const serial = random.subarray(16 * n, 16 * n + 16)
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40
  return { serial, revokedAt: now, reason: 1 }
})
const input = {
  issuerName: encodeName({ organization: 'Fleetseal', commonName: 'Bench' }),
  issuerKeyId: randomBytes(20),
  signatureAlgorithm: signer.algorithm,
  number: 1n,
  thisUpdate: now,
  nextUpdate: new Date(now.getTime() + 86_400_000),
}
// The first call compiles; a server has long done that.
await signCrl(buildCrl({ ...input, revoked: revoked.slice(0, 5_000) }), signer)
const began = performance.now()
const der = await signCrl(buildCrl({ ...input, revoked }), signer)
const ms = performance.now() - began
// Not `resourceUsage().maxRSS`: that begins with the memory of the process that started this one.
const status = readFileSync('/proc/self/status', 'utf8')
const peakBytes = Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024
console.log(JSON.stringify({ ms, peakBytes, size: der.length }))
