import { oids } from '../der/oids.ts'
import { tags } from '../der/tags.ts'
import type { NameAttribute } from '../names.ts'
import { readName } from '../names.ts'
import type { GeneralName } from './general-names.ts'
import type { TbsCertificate } from './parse.ts'
import type { Profile } from './profiles.ts'
import { isEmptyName } from './profiles.ts'

const maxNameCharacters = 64
const maxHostCharacters = 253
const maxUriCharacters = 2048

/** The subjectAltName against the profile: one identity URI, or hosts and addresses. */
export function lintNames({ subjectAltName }: TbsCertificate, rules: Profile): string[] {
  const names = subjectAltName ?? []
  switch (rules.subjectAltName) {
    case 'none':
      return []
    case 'identity':
      return names.length === 1 && names[0]?.type === 'uri'
        ? lintUri(names[0].value)
        : ['The identity is not exactly one URI']
    case 'hosts':
      return names.flatMap(lintHost)
    default:
      return ['The profile says nothing known about names']
  }
}

/** Attributes of the subject: the ones we write, each once, in their string types and lengths. */
export function lintSubject({ subject }: TbsCertificate, rules: Profile): string[] {
  if (isEmptyName(subject)) return rules.isCa ? ['A CA without a subject'] : []
  const attributes = readName(subject)
  const types = attributes.map(({ oid }) => oid)
  return [
    ...attributes.flatMap(lintAttribute),
    ...(new Set(types).size === types.length ? [] : ['A subject attribute appears twice']),
  ]
}

/** The URL of a CRL or a certificate: plain HTTP, because fetching it must not need a certificate. */
export function lintHttpUrl(text: string): string[] {
  const isHttp = /^https?:\/\/[^\s/@]/.test(text) && URL.canParse(text)
  return isHttp && text.length <= maxUriCharacters ? [] : ['A location is not an HTTP URL']
}

const stringTypes: ReadonlyMap<string, readonly number[]> = new Map([
  [oids.commonName, [tags.utf8String, tags.printableString]],
  [oids.organization, [tags.utf8String, tags.printableString]],
  [oids.serialNumber, [tags.printableString]],
])

function lintAttribute({ oid, value, tag }: NameAttribute): string[] {
  const allowed = stringTypes.get(oid)
  if (!allowed) return [`Subject attribute ${oid} is not in the profile`]
  const characters = Array.from(value).length
  const findings: string[] = []
  if (!allowed.includes(tag)) findings.push(`Subject attribute ${oid} has a wrong string type`)
  if (characters === 0 || characters > maxNameCharacters) {
    findings.push(`Subject attribute ${oid} is empty or too long`)
  }
  if (/\p{Cc}/u.test(value)) findings.push(`Subject attribute ${oid} has control characters`)
  return findings
}

/** RFC 3986 §3: a scheme and something behind it, nothing that has to be escaped. */
function lintUri(uri: string): string[] {
  const isUri = /^[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9\-._~:/?#[\]@!$&'()*+,;=%]+$/.test(uri)
  return isUri && uri.length <= maxUriCharacters ? [] : ['The identity is not a URI']
}

function lintHost(name: GeneralName): string[] {
  switch (name.type) {
    case 'dns':
      return isHostName(name.value) ? [] : ['A DNS name is not a host name']
    case 'ip':
      return name.value.length === 4 || name.value.length === 16 ? [] : ['An IP address is none']
    case 'other':
    case 'email':
    case 'x400':
    case 'directory':
    case 'ediParty':
    case 'uri':
    case 'registeredId':
      return [`A ${name.type} name in a server certificate`]
    default:
      return ['An unknown kind of name in a server certificate']
  }
}

/** RFC 1034 §3.5 preferred syntax, letters in either case, no wildcard and no trailing dot. */
function isHostName(host: string): boolean {
  const isLabel = (label: string) => /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/.test(label)
  return host.length <= maxHostCharacters && host.split('.').every(isLabel)
}
