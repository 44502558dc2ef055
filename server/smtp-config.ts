import { isIP } from 'node:net'

import { z } from 'zod'

/** Where mail is handed over, and by whom. */
export interface Smtp {
  host: string
  port: number
  /** TLS from the first byte; otherwise STARTTLS, which is demanded unless the server is this machine. */
  isTls: boolean
  isLoopback: boolean
  user: string | undefined
  password: string | undefined
  from: string
}

/** `smtp://user:password@host:587` or `smtps://…`. Undefined when it is neither. */
export function readSmtpUrl(text: string, from: string): Smtp | undefined {
  const url = URL.parse(text)
  if (!url || !['smtp:', 'smtps:'].includes(url.protocol) || url.hostname === '') return undefined
  if (!['', '/'].includes(url.pathname) || url.search !== '' || url.hash !== '') return undefined
  const isTls = url.protocol === 'smtps:'
  const host = url.hostname.replaceAll(/^\[|\]$/g, '')
  try {
    return {
      host,
      port: url.port === '' ? (isTls ? 465 : 587) : Number(url.port),
      isTls,
      isLoopback:
        host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.')),
      user: url.username === '' ? undefined : decodeURIComponent(url.username),
      password: url.password === '' ? undefined : decodeURIComponent(url.password),
      from,
    }
  } catch {
    // Of a percent sign that begins nothing.
    return undefined
  }
}

/** Settings of mail about alerts (docs/alerts.md). */
export const smtpVariables = {
  FLEETSEAL_SMTP_URL: z
    .string()
    .refine((text) => readSmtpUrl(text, '') !== undefined, {
      error: 'must be smtp://USER:PASSWORD@HOST:PORT or smtps://…',
    })
    .optional(),
  FLEETSEAL_SMTP_FROM: z.email('must be a mail address').max(254).optional(),
}

/** What fits no single variable. */
export function smtpProblems(environment: NodeJS.ProcessEnv): string[] {
  const has = (name: string) => Boolean(environment[name])
  if (has('FLEETSEAL_SMTP_URL') === has('FLEETSEAL_SMTP_FROM')) return []
  return ['FLEETSEAL_SMTP_URL: set it together with FLEETSEAL_SMTP_FROM']
}

export function smtpSettings(env: z.infer<z.ZodObject<typeof smtpVariables>>) {
  const { FLEETSEAL_SMTP_URL: url, FLEETSEAL_SMTP_FROM: from } = env
  const smtp = url === undefined || from === undefined ? undefined : readSmtpUrl(url, from)
  /** Where mails about alerts are handed over. */
  return { smtp }
}
