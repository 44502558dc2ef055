import { DerReader } from '../der/reader.ts'
import { tags } from '../der/tags.ts'
import { readName } from '../names.ts'
import type { NameConstraints } from './extensions.ts'
import type { GeneralName } from './general-names.ts'
import type { TbsCertificate } from './parse.ts'
import { isEmptyName } from './profiles.ts'

/** Pairs of names and subtrees that are compared for one certificate, against quadratic work. */
const maxComparisons = 65_536
const emailAddress = '1.2.840.113549.1.9.1'

/**
 * Whether the names of a certificate obey an issuer's constraints (RFC 5280 §4.2.1.10 and §6.1.3 b, c). Gives what is wrong,
 * or undefined. A name that the constraint cannot judge is refused: a URI without a host under a URI
 * constraint, and kinds of names that are constrained but not understood.
 */
export function nameConstraintViolation(
  constraints: NameConstraints,
  certificate: Pick<TbsCertificate, 'subject' | 'subjectAltName'>,
): string | undefined {
  const names = namesOf(certificate)
  const subtrees = constraints.permitted.length + constraints.excluded.length
  if (names.length * subtrees > maxComparisons) return 'Too many names under name constraints'
  for (const name of names) {
    const permitted = constraints.permitted.filter(({ type }) => type === name.type)
    const excluded = constraints.excluded.filter(({ type }) => type === name.type)
    if (permitted.length + excluded.length === 0) continue
    const within = subtreeTest(name)
    if (!within || ![...permitted, ...excluded].every(isSubtree)) {
      return `A ${name.type} name cannot be judged by the name constraints`
    }
    if (permitted.length > 0 && !permitted.some(within))
      return `A ${name.type} name is not permitted`
    if (excluded.some((base) => within(base) || mayStandFor(name, base))) {
      return `A ${name.type} name is excluded`
    }
  }
  return undefined
}

function namesOf({
  subject,
  subjectAltName = [],
}: Pick<TbsCertificate, 'subject' | 'subjectAltName'>): GeneralName[] {
  const names = [...subjectAltName]
  if (isEmptyName(subject)) return names
  names.push({ type: 'directory', value: subject })
  // §4.2.1.10: an address in the subject counts when the subjectAltName has none.
  if (!subjectAltName.some(({ type }) => type === 'email')) {
    for (const { oid, value } of readName(subject)) {
      if (oid === emailAddress) names.push({ type: 'email', value })
    }
  }
  return names
}

/**
 * Whether a subtree is one (§4.2.1.10). What is not would permit nothing, which is well, and exclude nothing, which is not.
 */
function isSubtree(base: GeneralName): boolean {
  switch (base.type) {
    case 'dns':
      return base.value === '' || isHost(base.value)
    case 'email':
      return base.value.split('@').length <= 2
    case 'ip':
      return base.value.length === 8 || base.value.length === 32
    // Whole as they were parsed; a name that none of them can be compared with is refused by `subtreeTest`.
    case 'directory':
    case 'uri':
    case 'other':
    case 'registeredId':
    case 'x400':
    case 'ediParty':
      return true
  }
}

/** Labels of a host, underscores included, which the field has. */
function isHost(text: string): boolean {
  return /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/.test(text)
}

/** `*.example.com` in a certificate may be taken for `bar.example.com`, which is excluded (CVE-2025-61727). */
function mayStandFor(name: GeneralName, base: GeneralName): boolean {
  if (name.type !== 'dns' || base.type !== 'dns' || !name.value.startsWith('*.')) return false
  const host = base.value.toLowerCase()
  return host.slice(host.indexOf('.')) === name.value.toLowerCase().slice(1)
}

type SubtreeTest = (base: GeneralName) => boolean

/** A test whether the name lies within a subtree of its own type; undefined when it cannot be told. */
function subtreeTest(name: GeneralName): SubtreeTest | undefined {
  switch (name.type) {
    case 'directory': {
      const relatives = relativeNames(name.value)
      return (base) => base.type === 'directory' && startsWith(relatives, relativeNames(base.value))
    }
    case 'dns': {
      const host = name.value.toLowerCase()
      if (!isHost(host.replace(/^\*\./, ''))) return undefined
      return (base) => base.type === 'dns' && isBelow(host, base.value.toLowerCase())
    }
    case 'email': {
      const at = name.value.lastIndexOf('@')
      // One sign only: whoever reads a second one another way reads another host.
      if (at <= 0 || name.value.indexOf('@') !== at) return undefined
      const host = name.value.slice(at + 1).toLowerCase()
      return (base) => base.type === 'email' && mailboxWithin(name.value, host, base.value)
    }
    case 'uri': {
      const host = hostOf(name.value)
      if (host === undefined) return undefined
      return (base) => base.type === 'uri' && isHostOrBelowDot(host, base.value.toLowerCase())
    }
    case 'ip':
      return (base) => base.type === 'ip' && addressWithin(name.value, base.value)
    case 'other':
    case 'x400':
    case 'ediParty':
    case 'registeredId':
      return undefined
    default:
      return undefined
  }
}

/** The RDNs of a Name, DER each. They are compared as bytes. */
function relativeNames(name: Buffer): Buffer[] {
  const list = new DerReader(name).enter(tags.sequence)
  const relatives: Buffer[] = []
  while (!list.isDone()) relatives.push(list.raw(tags.set))
  return relatives
}

function startsWith(names: readonly Buffer[], base: readonly Buffer[]): boolean {
  return base.length <= names.length && base.every((one, index) => names[index]?.equals(one))
}

/** dNSName: the base itself and everything with labels added on the left. */
function isBelow(host: string, base: string): boolean {
  return base === '' || host === base || host.endsWith(`.${base}`)
}

/** URI and mail hosts: `.example.com` is every host below, `example.com` is that host only. */
function isHostOrBelowDot(host: string, base: string): boolean {
  return base.startsWith('.') ? host.endsWith(base) : host === base
}

function mailboxWithin(mailbox: string, host: string, base: string): boolean {
  const at = base.lastIndexOf('@')
  if (at < 0) return isHostOrBelowDot(host, base.toLowerCase())
  const isSameLocalPart = mailbox.slice(0, mailbox.lastIndexOf('@')) === base.slice(0, at)
  return isSameLocalPart && host === base.slice(at + 1).toLowerCase()
}

/** Host of a URI with an authority; an IP address is no host name (§4.2.1.10). */
function hostOf(uri: string): string | undefined {
  const authority = /^[A-Za-z][A-Za-z0-9+.-]*:\/\/([^/?#]*)/.exec(uri)?.[1]
  if (authority === undefined) return undefined
  const host = authority.slice(authority.lastIndexOf('@') + 1).replace(/:\d*$/, '')
  const isName = /^[A-Za-z0-9._-]+$/.test(host) && !/^[\d.]+$/.test(host)
  return isName ? host.toLowerCase() : undefined
}

function addressWithin(address: Buffer, base: Buffer): boolean {
  if (base.length !== address.length * 2) return false
  const mask = base.subarray(address.length)
  return address.every((octet, index) => {
    const bits = mask[index] ?? 0xff
    return (octet & bits) === ((base[index] ?? 0) & bits)
  })
}
