import type { Db } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import { checkWindow } from './window-check.ts'
import { windowVerdict } from './window-place.ts'
import { classOfRelease, measuredMs } from './window-store.ts'
import { windowView } from './window-view.ts'
import { IgnoreWindows, WindowRule } from './window-wire.ts'

interface Asked {
  /** Null for certificates. */
  releaseId: string | null
  settings: { install_window?: unknown; ignore_windows?: unknown }
  now: Date
}

/**
 * What a rollout says about windows, as it may be stored. Throws DomainError `invalid-request` for a window that never opens, or never
 * for as long as the release is known to take, and for one that is to be passed by what is no security release.
 */
export async function checkWindowSettings(
  db: Db,
  { releaseId, settings, now }: Asked,
): Promise<void> {
  const { install_window: rule, ignore_windows: ignore } = settings
  if (releaseId === null) {
    if (!rule && !ignore) return
    const message = 'A renewal interrupts nothing, so no window holds it up: leave it out'
    throw new DomainError('invalid-request', message, { at: 'window' })
  }
  if (rule) {
    checkWindow(WindowRule.parse(rule), now)
    const neededMs = (await measuredMs(db, releaseId)) ?? null
    const facts = { rule, rules: null, calendars: null, ignore: null, neededMs }
    const { open, next } = windowVerdict(facts, 0, now)
    if (!open && next === null) throw tooShort(neededMs ?? 0)
  }
  if (ignore && (await classOfRelease(db, releaseId)) !== 'security') {
    throw new DomainError('invalid-request', 'Only a security release may pass windows', {
      issues: [{ at: 'ignoreWindows', message: 'is for security releases' }],
    })
  }
}

function tooShort(neededMs: number): DomainError {
  const message = `is shorter than the ${Math.ceil(neededMs / 60_000)} minutes that the release takes`
  return new DomainError('invalid-request', `The window ${message}`, {
    issues: [{ at: 'window.duration', message }],
  })
}

interface Stored {
  install_window: unknown
  ignore_windows: unknown
}

/** The window of a rollout as it is shown; what was stored and cannot be read never opens, and is shown as none. */
export function windowsOf({ install_window: rule, ignore_windows: ignore }: Stored, now: Date) {
  const passes = IgnoreWindows.safeParse(ignore)
  return {
    window: rule ? windowView(rule, now) : null,
    ignoreWindows: passes.success ? passes.data : null,
  }
}
