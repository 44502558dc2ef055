import { z } from 'zod'

/**
 * Who a claim's value makes somebody: a role of the whole fleet by its name, or a role for the devices that are in all of some groups, by
 * their names; several as a list.
 */
const Mapped = z.union([
  z.string().min(1).max(40),
  z.strictObject({
    role: z.string().min(1).max(40),
    groups: z.array(z.string().min(1).max(100)).max(20).default([]),
  }),
])
const RoleMap = z.record(z.string().min(1).max(500), z.union([Mapped, z.array(Mapped).max(20)]))

const issuerUrl = z
  .url({ error: 'must be the URL of the issuer' })
  .max(500)
  .refine(isTrustworthy, 'must be https, or http on this machine')

export const signInVariables = {
  FLEETSEAL_PUBLIC_URL: z
    .url({ protocol: /^https$/, error: 'must be an https:// URL without a path' })
    .refine((url) => new URL(url).pathname === '/', 'must have no path')
    .optional(),
  FLEETSEAL_OPERATOR_CERTIFICATES: z.enum(['off', 'ask']).default('off'),
  FLEETSEAL_OIDC_ISSUER: issuerUrl.optional(),
  FLEETSEAL_OIDC_CLIENT_ID: z.string().min(1).max(255).optional(),
  FLEETSEAL_OIDC_CLIENT_SECRET: z.string().min(1).max(1_000).optional(),
  FLEETSEAL_OIDC_ROLE_CLAIM: z.string().min(1).max(255).default('roles'),
  FLEETSEAL_OIDC_ROLE_MAP: z.string().max(100_000).optional(),
  FLEETSEAL_OIDC_SCOPES: z
    .string()
    .max(500)
    .regex(/^openid( [\x21\x23-\x5b\x5d-\x7e]+)*$/, 'must be words, the first one "openid"')
    .default('openid profile email'),
  FLEETSEAL_SESSION_IDLE_MINUTES: z.coerce.number().int().min(1).max(1_440).default(30),
  FLEETSEAL_SESSION_HOURS: z.coerce.number().int().min(1).max(168).default(12),
}

type Variables = z.infer<ReturnType<typeof shape>>
const shape = () => z.object(signInVariables)

export interface MappedRole {
  role: string
  /** Names of groups. */
  groups: readonly string[]
}

export interface OidcSettings {
  issuer: string
  clientId: string
  /** Undefined: a public client, which proves itself by PKCE alone. */
  clientSecret: string | undefined
  scopes: string
  /** A claim's name, or a path of names through objects, joined by dots. */
  roleClaim: string
  /** By the claim's value. */
  roles: ReadonlyMap<string, readonly MappedRole[]>
}

/** What signing in needs to know. Problems are added to the list, by the name of the variable. */
export function signInSettings(
  env: Variables & { FLEETSEAL_PUBLIC_HOST: string; FLEETSEAL_API_PORT: number },
) {
  const host = env.FLEETSEAL_PUBLIC_HOST
  const name = host.includes(':') ? `[${host}]` : host
  return {
    /** Where people find this server, without a slash at its end. */
    publicUrl:
      env.FLEETSEAL_PUBLIC_URL === undefined
        ? new URL(`https://${name}:${env.FLEETSEAL_API_PORT}`).origin
        : new URL(env.FLEETSEAL_PUBLIC_URL).origin,
    /** How long somebody stays signed in: without use, and at most. */
    session: {
      idleMs: env.FLEETSEAL_SESSION_IDLE_MINUTES * 60_000,
      maxMs: env.FLEETSEAL_SESSION_HOURS * 3_600_000,
    },
    /** Does the interface ask for client certificates? A browser then shows its own to people, so nobody is asked by default. */
    operatorCertificates: env.FLEETSEAL_OPERATOR_CERTIFICATES === 'ask',
    /** Undefined: nobody signs in at a provider. */
    oidc: oidcSettings(env),
  }
}

/** What is wrong with the variables together, for `loadConfig`. */
export function signInProblems(environment: NodeJS.ProcessEnv): string[] {
  const given = (name: string) => Boolean(environment[`FLEETSEAL_OIDC_${name}`])
  const problems: string[] = []
  if (given('ISSUER') !== given('CLIENT_ID') || given('ISSUER') !== given('ROLE_MAP')) {
    problems.push(
      'FLEETSEAL_OIDC_ISSUER: set it together with FLEETSEAL_OIDC_CLIENT_ID and FLEETSEAL_OIDC_ROLE_MAP',
    )
  }
  const map = environment['FLEETSEAL_OIDC_ROLE_MAP']
  if (map && parseRoleMap(map) === undefined) {
    problems.push(
      'FLEETSEAL_OIDC_ROLE_MAP: must be JSON such as {"fleet-admins":"admin","line-1":{"role":"operator","groups":["line 1"]}}',
    )
  }
  return problems
}

function oidcSettings(env: Variables): OidcSettings | undefined {
  const {
    FLEETSEAL_OIDC_ISSUER: issuer,
    FLEETSEAL_OIDC_CLIENT_ID: clientId,
    FLEETSEAL_OIDC_ROLE_MAP: map,
  } = env
  const roles = map === undefined ? undefined : parseRoleMap(map)
  if (issuer === undefined || clientId === undefined || roles === undefined) return undefined
  return {
    issuer,
    clientId,
    clientSecret: env.FLEETSEAL_OIDC_CLIENT_SECRET,
    scopes: env.FLEETSEAL_OIDC_SCOPES,
    roleClaim: env.FLEETSEAL_OIDC_ROLE_CLAIM,
    roles,
  }
}

function parseRoleMap(text: string): OidcSettings['roles'] | undefined {
  const parsed = RoleMap.safeParse(jsonOf(text))
  if (!parsed.success || Object.keys(parsed.data).length === 0) return undefined
  return new Map(
    Object.entries(parsed.data).map(([value, mapped]) => [
      value,
      [mapped].flat().map((one) => (typeof one === 'string' ? { role: one, groups: [] } : one)),
    ]),
  )
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** What is read without TLS could be anybody's, unless it does not leave this machine. */
export function isTrustworthy(url: string): boolean {
  const parsed = URL.parse(url)
  if (!parsed || parsed.username !== '' || parsed.hash !== '') return false
  if (parsed.protocol === 'https:') return true
  return parsed.protocol === 'http:' && /^(localhost|127\.0\.0\.1|\[::1\])$/.test(parsed.hostname)
}
