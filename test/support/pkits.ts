import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

import type { Crl } from '../../pki/crl/parse.ts'
import { parseCrl } from '../../pki/crl/parse.ts'
import { statusByCrls } from '../../pki/crl/status.ts'
import { PkiError } from '../../pki/errors.ts'
import { validatePath } from '../../pki/path-validate.ts'
import type { Certificate } from '../../pki/x509/parse.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'

/** NIST PKITS as Debian's python3-cryptography-vectors installs it. */
const directory = '/usr/lib/python3/dist-packages/cryptography_vectors/x509/PKITS_data'
export const hasPkits = existsSync(directory)

/** In the middle of the suite's certificates and CRLs. */
const at = new Date('2020-06-01T00:00:00Z')
const maxDepth = 8

interface Suite {
  readonly leaves: readonly string[]
  readonly authorities: readonly Certificate[]
  readonly anchor: Certificate
  readonly crls: readonly Crl[]
}

export function loadPkits(): Suite {
  const names = readdirSync(join(directory, 'certs'))
  const leaves = names.filter((name) => name.endsWith('EE.crt'))
  const authorities = names
    .filter((name) => !name.endsWith('EE.crt') && !name.startsWith('TrustAnchor'))
    .flatMap((name) => readable(() => parseCertificate(read('certs', name))))
  const crls = readdirSync(join(directory, 'crls')).flatMap((name) =>
    readable(() => parseCrl(read('crls', name))),
  )
  const anchor = parseCertificate(read('certs', 'TrustAnchorRootCertificate.crt'))
  return {
    leaves: leaves.map((name) => name.slice(0, -'EE.crt'.length)),
    authorities,
    anchor,
    crls,
  }
}

function read(kind: 'certs' | 'crls', name: string): Buffer {
  return readFileSync(join(directory, kind, name))
}

function readable<T>(parse: () => T): T[] {
  try {
    return [parse()]
  } catch (error) {
    if (error instanceof PkiError) return []
    throw error
  }
}

/**
 * `valid`, or why each of the possible paths is not.
 *
 * @param by the path alone, or also the CRLs
 */
export function judge(suite: Suite, name: string, by: 'path' | 'crls'): string {
  const der = read('certs', `${name}EE.crt`)
  let leaf: Certificate
  try {
    leaf = parseCertificate(der)
  } catch (error) {
    if (error instanceof PkiError) return `malformed: ${error.message}`
    throw error
  }
  const outcomes = pathsFrom(suite, [leaf]).map((path) => judgePath(suite, path, by))
  if (outcomes.length === 0) return 'no path'
  return outcomes.includes('valid') ? 'valid' : outcomes.join(' | ')
}

/** Every chain of names up to the anchor, which is not in it. */
function pathsFrom(suite: Suite, path: readonly Certificate[]): Certificate[][] {
  const last = path.at(-1)
  if (!last || path.length > maxDepth) return []
  if (last.issuer.equals(suite.anchor.subject)) return [[...path]]
  return suite.authorities
    .filter((one) => one.subject.equals(last.issuer) && !path.includes(one))
    .flatMap((one) => pathsFrom(suite, [...path, one]))
}

function judgePath(suite: Suite, path: readonly Certificate[], by: 'path' | 'crls'): string {
  const ders = path.map(({ der }) => der)
  const verdict = validatePath(ders, [suite.anchor.der], { at, purpose: 'clientAuth' })
  if (!verdict.valid) return `${verdict.reason}: ${verdict.detail}`
  if (by === 'path') return 'valid'
  for (const [index, certificate] of path.entries()) {
    const issuer = path[index + 1] ?? suite.anchor
    const lists = suite.crls.filter((crl) => crl.issuer.equals(issuer.subject))
    const { status } = statusByCrls(certificate, issuer, lists, { at })
    if (status !== 'good') return `status ${status}`
  }
  return 'valid'
}
