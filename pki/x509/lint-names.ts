import { oids } from '../der/oids.ts'
import { tags } from '../der/tags.ts'
import type { NameAttribute } from '../names.ts'
import { readName } from '../names.ts'
import type { GeneralName } from './general-names.ts'
import { readHardwareModule } from './module-names.ts'
import type { TbsCertificate } from './parse.ts'
import type { Profile } from './profiles.ts'
import { claimPrefix, isEmptyName, isUuid } from './profiles.ts'

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
      return lintIdentity(names, (uri) =>
        uri.startsWith(claimPrefix) ? ['A device is named like a claim'] : [],
      )
    case 'claim':
      return lintIdentity(names, (uri) =>
        uri.startsWith(claimPrefix) && isUuid(uri.slice(claimPrefix.length))
          ? []
          : ['A claim certificate names something else than a claim'],
      )
    case 'module':
      return lintModule(names)
    case 'hosts':
      return names.flatMap(lintHost)
    default:
      return ['The profile says nothing known about names']
  }
}

function lintIdentity(
  names: readonly GeneralName[],
  lintForm: (uri: string) => string[],
): string[] {
  const [name] = names
  if (names.length !== 1 || name?.type !== 'uri') return ['The identity is not exactly one URI']
  return [...lintUri(name.value), ...lintForm(name.value)]
}

function lintModule(names: readonly GeneralName[]): string[] {
  const [name] = names
  const isModule = names.length === 1 && name && readHardwareModule(name) !== undefined
  return isModule ? [] : ['The subjectAltName is not exactly one hardware module']
}

/** Attributes of the subject: the ones we write, each once, in their string types and lengths. */
export function lintSubject({ subject }: TbsCertificate, rules: Profile): string[] {
  // RFC 5280 §4.1.2.6: without a subject there must be another name.
  if (isEmptyName(subject)) {
    return rules.isCa || rules.subjectAltName === 'none' ? ['A subject is missing'] : []
  }
  const attributes = readName(subject)
  const types = attributes.map(({ oid }) => oid)
  const needsSerial = rules.subjectAltName === 'module' && !types.includes(oids.serialNumber)
  return [
    // 802.1AR and BRSKI (RFC 8995 §2.3.1) find the device by this attribute.
    ...(needsSerial ? ['The subject of an IDevID has no serialNumber'] : []),
    ...attributes.flatMap(lintAttribute),
    ...(new Set(types).size === types.length ? [] : ['A subject attribute appears twice']),
  ]
}

/** The URL of a CRL or a certificate: plain HTTP, because fetching it must not need a certificate. */
export function lintHttpUrl(text: string): string[] {
  if (goodUrls.has(text)) return []
  const isHttp = /^https?:\/\/[^\s/@]/.test(text) && URL.canParse(text)
  if (!isHttp || text.length > maxUriCharacters) return ['A location is not an HTTP URL']
  if (goodUrls.size >= maxGoodUrls) goodUrls.clear()
  goodUrls.add(text)
  return []
}

/** The certificates of an issuer point to the same few places. */
const goodUrls = new Set<string>()
const maxGoodUrls = 64

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
