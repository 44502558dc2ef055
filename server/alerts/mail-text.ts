import { storable } from '../db/storable.ts'
import { meaningOf } from '../events/catalogue.ts'
import type { AlertRule } from './match.ts'
import type { Alert } from './store.ts'

const maxSubject = 150

/**
 * What people are told of an alert by mail: plain text without what the event itself says, for a device chooses that. `held`: alerts of which no mail
 * was written before.
 */
export function mailOf(
  alert: Alert,
  rule: Pick<AlertRule, 'name'>,
  held: number,
): { subject: string; body: string } {
  const { kind, severity, count, device_id: deviceId } = alert
  const again = alert.told_at === null ? '' : 'still: '
  const known = meaningOf(kind)
  const lines = [
    `${severity.toUpperCase()}: ${kind}, ${count === 1 ? 'once' : `${count} times`}`,
    '',
    ...(known ? [known.means, `What to do: ${known.todo}`, ''] : []),
    `Rule:   ${oneLine(rule.name)}`,
    ...(deviceId === null ? [] : [`Device: ${deviceId}`]),
    `First:  ${alert.first_at.toISOString()}`,
    `Last:   ${alert.last_at.toISOString()}`,
    '',
    `fleetseal alert show ${alert.id}`,
    `fleetseal alert acknowledge ${alert.id}     so that nobody is told of it again`,
    ...(held === 0
      ? []
      : ['', `${held} more were not mailed, since there were too many: fleetseal alert list`]),
  ]
  const subject = oneLine(`[Fleetseal] ${again}${severity}: ${kind} (${rule.name})`)
  return { subject: subject.slice(0, maxSubject), body: `${lines.join('\n')}\n` }
}

/** Of a test. */
export function testMail(by: string): { subject: string; body: string } {
  const body = `${oneLine(by)} asked for this, to see whether alerts arrive here.\n`
  return { subject: '[Fleetseal] a test', body }
}

function oneLine(text: string): string {
  return storable(text)
}
