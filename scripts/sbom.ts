import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

interface Locked {
  version?: string
  license?: string
  integrity?: string
  resolved?: string
  dev?: boolean
  devOptional?: boolean
  optional?: boolean
  peer?: boolean
  hasInstallScript?: boolean
  dependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
}

interface Lock {
  name: string
  version: string
  packages: Record<string, Locked>
}

export interface LockedPackage extends Locked {
  /** `@scope/name`. */
  name: string
  path: string
}

/** What the lockfile installs without `--omit=dev` left out, in the order of their paths. */
export function productionPackages(lock: Lock): LockedPackage[] {
  return Object.entries(lock.packages)
    .filter(([path, one]) => path !== '' && one.dev !== true && one.devOptional !== true)
    .map(([path, one]) => ({ ...one, path, name: path.split('node_modules/').at(-1) ?? '' }))
    .toSorted((a, b) => (a.path < b.path ? -1 : 1))
}

export function readLock(): Lock {
  return JSON.parse(readFileSync('package-lock.json', 'utf8')) as Lock
}

/**
 * The bill of materials of the server: CycloneDX 1.6, JSON. The same lockfile gives the same bytes: there is no time in it, and its serial number
 * comes of the lockfile.
 */
export function billOfMaterials(lock: Lock): string {
  const packages = productionPackages(lock)
  const root = refOf(lock.name, lock.version)
  const byPath = new Map(packages.map((one) => [one.path, one]))
  const own = lock.packages[''] ?? {}
  const components = new Map(packages.map((one) => [refOf(one.name, one.version ?? ''), one]))
  const dependencies = [
    { ref: root, dependsOn: dependsOn('', own, byPath) },
    ...[...components].map(([ref, one]) => ({ ref, dependsOn: dependsOn(one.path, one, byPath) })),
  ]
  const document = {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    serialNumber: `urn:uuid:${uuidOf(JSON.stringify(lock))}`,
    version: 1,
    metadata: {
      component: {
        type: 'application',
        'bom-ref': root,
        name: lock.name,
        version: lock.version,
        licenses: [{ license: { id: 'Apache-2.0' } }],
        purl: root,
      },
    },
    components: [...components].map(([ref, one]) => componentOf(ref, one)),
    dependencies,
  }
  return `${JSON.stringify(document, null, 2)}\n`
}

function componentOf(ref: string, { name, version, license, integrity, optional }: LockedPackage) {
  const [algorithm, base64 = ''] = (integrity ?? '').split('-')
  const [group, own] = name.startsWith('@') ? name.split('/') : [undefined, name]
  const content = Buffer.from(base64, 'base64').toString('hex')
  return {
    type: 'library',
    'bom-ref': ref,
    ...(group === undefined ? {} : { group }),
    name: own ?? name,
    version,
    scope: optional ? 'optional' : 'required',
    ...(algorithm === 'sha512' ? { hashes: [{ alg: 'SHA-512', content }] } : {}),
    licenses: [license?.includes(' ') ? { expression: license } : { license: { id: license } }],
    purl: ref,
  }
}

/** As Node finds them: in the package's own folder first, then further up. */
function dependsOn(
  path: string,
  { dependencies = {}, optionalDependencies = {} }: Locked,
  byPath: ReadonlyMap<string, LockedPackage>,
): string[] {
  const refs = Object.keys({ ...dependencies, ...optionalDependencies }).flatMap((name) => {
    for (let at = path; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
      const found = byPath.get(`${at === '' ? '' : `${at}/`}node_modules/${name}`)
      if (found) return [refOf(name, found.version ?? '')]
      if (!at.includes('/node_modules/')) {
        const top = byPath.get(`node_modules/${name}`)
        return top ? [refOf(name, top.version ?? '')] : []
      }
    }
  })
  return [...new Set(refs)].toSorted()
}

function refOf(name: string, version: string): string {
  return `pkg:npm/${name.replace('@', '%40')}@${version}`
}

function uuidOf(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex')
  const variant = ((Number.parseInt(hex.slice(16, 18), 16) & 0x3f) | 0x80).toString(16)
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(18, 20)}-${hex.slice(20, 32)}`
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [file] = process.argv.slice(2)
  const text = billOfMaterials(readLock())
  if (file === undefined) process.stdout.write(text)
  else writeFileSync(file, text)
}
