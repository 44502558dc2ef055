import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { generatePrivateKey, type KeyAlgorithm, spkiOf } from '../../pki/keys.ts'
import { toPem } from '../../pki/pem.ts'
import type { Certificate } from '../../pki/x509/parse.ts'
import { scratchDirectory } from '../support/openssl.ts'
import {
  type Authority,
  issue,
  makeIssuer,
  makeRoot,
  rawExtensions,
  rawTbs,
  signRaw,
} from '../support/pki-fixture.ts'
import { leafInput, leafProfiles } from '../support/profile-inputs.ts'

/** zlint judges every profile by RFC 5280 and 5480 and by what the community agreed on; web-PKI rules do not apply to us. */
const sources = 'RFC5280,RFC5480,Community'

/** From the path, or where .ci/run puts it (`go install`, on a Debian that has no package of it). */
const zlint = ['zlint', join(homedir(), 'go', 'bin', 'zlint')].find(
  (path) => (path === 'zlint' || existsSync(path)) && spawnSync(path, ['-version']).status === 0,
)
const judge = test.skipIf(!zlint)
const why = zlint ? '' : ' (skipped: zlint is not installed)'
const files = scratchDirectory()

let root: Authority
let issuer: Authority
beforeAll(async () => {
  root = await makeRoot()
  issuer = await makeIssuer(root)
})
afterAll(() => files[Symbol.dispose]())

/** Lints that end in anything but pass or not applicable, as `name: result`. */
function findings({ der }: Pick<Certificate, 'der'>): string[] {
  const file = files.write('judged.pem', toPem('CERTIFICATE', der))
  const { stdout, stderr, status } = spawnSync(zlint ?? '', [`-includeSources=${sources}`, file], {
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(stderr)
  const results = JSON.parse(stdout) as Record<string, { result: string }>
  // Nothing was judged when nothing passed.
  expect(Object.values(results).filter(({ result }) => result === 'pass').length).toBeGreaterThan(
    10,
  )
  return Object.entries(results)
    .filter(([, { result }]) => !['pass', 'NA', 'NE', 'info'].includes(result))
    .map(([name, { result }]) => `${name}: ${result}`)
}

judge(`P7 zlint finds nothing in root and issuing certificates${why}`, () => {
  expect(findings(root.certificate)).toEqual([])
  expect(findings(issuer.certificate)).toEqual([])
})

const kinds = leafProfiles.flatMap((profile): [string, KeyAlgorithm][] => {
  if (profile === 'scep-ra') return [[profile, 'RSA-2048']]
  const keys: KeyAlgorithm[] = ['P-256']
  if (profile === 'device' || profile === 'metadata-signer') keys.push('ML-DSA-65')
  return keys.map((key) => [profile, key])
})

judge.each(kinds)(
  `P7 zlint finds nothing in a %s certificate with a %s key${why}`,
  async (name, key) => {
    const profile = leafProfiles.find((one) => one === name) ?? 'device'
    const leaf = await issue(
      profile,
      issuer,
      leafInput(profile, issuer, spkiOf(generatePrivateKey(key))),
    )
    expect(findings(leaf)).toEqual([])
  },
)

judge(`zlint finds what is wrong, so that nothing found means something${why}`, async () => {
  const [first = Buffer.alloc(0)] = rawExtensions(issuer)
  const twice = [...rawExtensions(issuer), first]
  const der = await signRaw(rawTbs(issuer, { extensions: twice }), issuer)
  expect(findings({ der }).join(' ')).toContain('e_ext_duplicate_extension')
})
