import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import type { Config } from '../config.ts'

/** Where the token for `/metrics` lies: a scraper gets this file and no API key. */
export function metricsTokenFile({ dataDir }: Pick<Config, 'dataDir'>): string {
  return join(dataDir, 'metrics-token')
}

/**
 * Makes the token (`fm_` and 32 random bytes in base64url, mode 0600) when there is none; start.ts calls it. A new token is made
 * by removing the file and starting again.
 */
export async function ensureMetricsToken(config: Pick<Config, 'dataDir'>): Promise<void> {
  const token = `fm_${randomBytes(32).toString('base64url')}\n`
  await writeFile(metricsTokenFile(config), token, { flag: 'wx', mode: 0o600 }).catch(
    (error: unknown) => {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    },
  )
}

/** Whether an `Authorization` header carries the metrics token. False when there is no (whole) token on disk. */
export async function isMetricsToken(
  config: Pick<Config, 'dataDir'>,
  authorization: string | undefined,
): Promise<boolean> {
  const [, given] = /^Bearer +(fm_[A-Za-z0-9_-]{43})$/i.exec(authorization ?? '') ?? []
  if (given === undefined) return false
  const token = await readFile(metricsTokenFile(config), 'utf8').catch(() => '')
  if (!/^fm_[A-Za-z0-9_-]{43}\n?$/.test(token)) return false
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(token.trim()), digest(given))
}
