import type { OidcSettings } from '../sign-in-config.ts'

const maxValues = 200

/** A claim by its name, or by a path through objects: `realm_access.roles`. */
export function claimAt(claims: Readonly<Record<string, unknown>>, path: string): unknown {
  // Names with dots exist (`https://acme.example/roles`), so the whole is tried first.
  if (Object.hasOwn(claims, path)) return claims[path]
  return path.split('.').reduce<unknown>((at, name) => {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, name)) return undefined
    return (at as Record<string, unknown>)[name]
  }, claims)
}

/** The texts of a claim that is one, or a list of them. The rest of a list that is longer than 200 counts for nothing. */
export function textsOf(claim: unknown): string[] {
  return [claim]
    .flat()
    .slice(0, maxValues)
    .filter((value) => typeof value === 'string')
}

/** What the provider's word makes somebody, each role once. */
export function mappedRoles(
  settings: Pick<OidcSettings, 'roleClaim' | 'roles'>,
  claims: Readonly<Record<string, unknown>>,
) {
  const found = textsOf(claimAt(claims, settings.roleClaim)).flatMap(
    (value) => settings.roles.get(value) ?? [],
  )
  return [...new Map(found.map((one) => [JSON.stringify(one), one])).values()]
}
