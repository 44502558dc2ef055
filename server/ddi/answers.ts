import { hostInUrl } from '../http/host.ts'
import type { InstalledAction, Poller } from './device-store.ts'
import type { Shown } from './present.ts'

export interface Where {
  host: string
  port: number
  tenant: string
  poller: Poller
}

/** Where a device finds itself, without a slash at the end. */
export function baseOf({ host, port, tenant, poller }: Where): string {
  const id = encodeURIComponent(poller.controller_id ?? poller.device_id)
  return `https://${hostInUrl(host)}:${port}/${tenant}/controller/v1/${id}`
}

/**
 * The answer to a root poll (ddi.md §2): at most one thing to do, and the attributes when they are wanted.
 *
 * @param sleep `HH:MM:SS`
 */
export function rootAnswer(where: Where, shown: Shown, sleep: string): Record<string, unknown> {
  const { poller } = where
  const base = baseOf(where)
  const id = poller.action?.id
  const links = {
    ...(shown.link === 'deploymentBase' && id !== undefined
      ? { deploymentBase: { href: `${base}/deploymentBase/${id}?c=${changeOf(poller, shown)}` } }
      : {}),
    ...(shown.link === 'confirmationBase' && id !== undefined
      ? {
          confirmationBase: { href: `${base}/confirmationBase/${id}?c=${changeOf(poller, shown)}` },
        }
      : {}),
    // Without a query: SWUpdate puts `/feedback` behind it.
    ...(shown.link === 'cancelAction' && id !== undefined
      ? { cancelAction: { href: `${base}/cancelAction/${id}` } }
      : {}),
    ...installedLink(where),
    ...(poller.wants_attributes === true ? { configData: { href: `${base}/configData` } } : {}),
  }
  return { config: { polling: { sleep } }, _links: links }
}

/** The same for a device without anything to do. */
export function quietAnswer(sleep: string, links: Links): Record<string, unknown> {
  return { config: { polling: { sleep } }, _links: links }
}

export type Links = Readonly<Record<string, { href: string }>>

/** What is shown beside the one thing to do: a generic client is told what it runs as far as that was proven. */
export function installedLink(where: Where): Links {
  const { profile, installed_action: id } = where.poller
  return profile === 'generic' && id !== null
    ? { installedBase: { href: `${baseOf(where)}/installedBase/${id}` } }
    : {}
}

/** Changes whenever the answer about the same action does. */
function changeOf({ deployment }: Poller, shown: Shown): number {
  const handling = shown.link === 'deploymentBase' && shown.handling === 'forced' ? 1 : 0
  return ((deployment?.attempts ?? 0) % 1_000) * 2 + handling
}

export interface Digests {
  sha1: string
  md5: string
}

interface Told {
  handling: 'attempt' | 'forced'
  /** How many messages; negative for all. */
  history: number
  /** Another action than the one that is open. */
  of?: {
    action: InstalledAction['action'] | null
    deployment: InstalledAction['deployment'] | null
  }
  status?: 'RUNNING' | 'FINISHED'
  /** Only where a window limits. */
  maintenanceWindow?: 'available' | undefined
}

/** `deploymentBase/{id}`, or `confirmationBase/{id}` with `confirmation` in its place: always one part of one file. */
export function deploymentAnswer(
  where: Where,
  key: 'deployment' | 'confirmation',
  { sha1, md5 }: Digests,
  { handling, history, of = where.poller, status = 'RUNNING', maintenanceWindow }: Told,
): Record<string, unknown> {
  const { part } = where.poller
  const { action, deployment } = of
  if (!action || !deployment) return {}
  const file = fileName(deployment.artifact_name)
  const href = `${baseOf(where)}/softwaremodules/${action.id}/artifacts/${file}`
  const messages = (action.messages as string[]).slice(0, history < 0 ? 200 : history)
  return {
    id: String(action.id),
    [key]: {
      download: handling,
      update: handling,
      ...(maintenanceWindow ? { maintenanceWindow } : {}),
      chunks: [
        {
          part,
          version: deployment.version,
          name: deployment.component,
          artifacts: [
            {
              filename: file,
              size: deployment.size,
              hashes: { sha1, md5, sha256: deployment.sha256 },
              _links: {
                download: { href },
                // Also https: Zephyr's client reads this one only.
                'download-http': { href },
                md5sum: { href: `${href}.MD5SUM` },
                'md5sum-http': { href: `${href}.MD5SUM` },
              },
            },
          ],
        },
      ],
    },
    ...(history !== 0 && messages.length > 0 ? { actionHistory: { status, messages } } : {}),
  }
}

export function cancelAnswer(id: number): Record<string, unknown> {
  // SWUpdate reads `deployment.update` from this body too, and some builds end without it (ddi.md §4).
  return {
    id: String(id),
    cancelAction: { stopId: String(id) },
    deployment: { update: 'skip' },
  }
}

/** In a path, and short enough for old clients. */
export function fileName(name: string): string {
  const plain = name.replaceAll(/[^A-Za-z0-9._-]/g, '_').replace(/^\.+/, '')
  if (plain === '') return 'artifact'
  const dot = plain.lastIndexOf('.')
  const ending = dot > 0 ? plain.slice(dot).slice(0, 12) : ''
  return plain.length <= 60 ? plain : `${plain.slice(0, 60 - ending.length)}${ending}`
}
