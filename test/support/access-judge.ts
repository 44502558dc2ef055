import { reachOf } from '../../server/http/access.ts'
import type { Grant } from '../../server/http/access.ts'
import type { Route } from '../../server/http/route.ts'
import type { Permission } from '../../server/protocol/permissions.ts'
import { actionsOf, type Asked, nameOf, type Pick, variantsOf } from './access-requests.ts'
import type { Side } from './access-world.ts'

export interface Answer {
  status: number
  text: string
}

export type Send = (asked: Asked, key: string) => Promise<Answer>

/** Calls a server. Of a stream of events only the beginning is read. */
export function sender(url: string): Send {
  return async ({ method, path, body, type = 'application/json' }, key) => {
    const stop = new AbortController()
    const response = await fetch(`${url}/api/v1${path}`, {
      method,
      signal: stop.signal,
      headers: {
        ...(key === '' ? {} : { Authorization: `Bearer ${key}` }),
        ...(body === undefined ? {} : { 'Content-Type': type }),
      },
      ...(body === undefined
        ? {}
        : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const isStream = response.headers.get('content-type')?.startsWith('text/event-stream')
    if (!isStream) return { status: response.status, text: await response.text() }
    const reader = response.body?.getReader()
    const first = await reader?.read()
    stop.abort()
    return { status: response.status, text: Buffer.from(first?.value ?? []).toString() }
  }
}

/** Things that nobody has, by the same names. */
export function nothing(side: Side): Side {
  return Object.fromEntries(
    Object.entries(side).map(([name, value], index) => [
      name,
      isUuid(value) ? `01890000-0000-7000-8000-${String(index).padStart(12, '0')}` : `no-${name}`,
    ]),
  )
}

/** May it be called, by everything that was given to somebody? */
export function mayCall(route: Route, permission: Permission, grants: readonly Grant[]): boolean {
  const reach = reachOf({ grants }, permission)
  return reach !== undefined && (route.scope !== 'fleet' || reach === 'fleet')
}

/** What is wrong with who gets past the door of a route. Names things that there are not, so it does nothing. */
export async function judgeDoor(
  send: Send,
  route: Route,
  caller: { name: string; key: string; grants: readonly Grant[] },
  nowhere: Side,
): Promise<string[]> {
  const findings: string[] = []
  const pick = (name: string) => nowhere[name] ?? `none-${name}`.slice(0, 30)
  const path = route.path.replaceAll(/:(\w+)/g, (_all, name: string) => pick(name))
  for (const { permission, body } of actionsOf(route)) {
    const asked = { method: route.method.toUpperCase(), path, ...body(pick) }
    const { status, text } = await send(asked, caller.key)
    const expected = caller.key === '' ? 401 : mayCall(route, permission, caller.grants) ? 0 : 403
    const isRight =
      expected === 0 ? ![401, 403].includes(status) && status < 500 : status === expected
    if (isRight) continue
    const wanted = expected === 0 ? 'let in' : String(expected)
    findings.push(
      `${nameOf(route)} (${permission}) by ${caller.name}: ${wanted}, not ${status} ${text.slice(0, 200)}`,
    )
  }
  return findings
}

export interface Sides {
  inside: Side
  outside: Side
  nowhere: Side
  /** In no answer to somebody who is limited to the inside. */
  marks: readonly string[]
}

/** What somebody who is limited to the inside learns of the outside, or does to it, by this route. */
export async function judgeReach(
  send: Send,
  route: Route,
  { key, sides, before }: { key: string; sides: Sides; before?: readonly Answer[] | undefined },
): Promise<string[]> {
  const { inside, outside, nowhere } = sides
  const findings: string[] = []
  const variants = variantsOf(route, inside)
  const isRead = route.method === 'get'
  // A POST only because its question is too long for a URL.
  const isQuestion = isRead || route.path.endsWith('/preview')
  if (!isRead && variants.every(({ names }) => own(names).length === 0)) {
    findings.push(`${nameOf(route)} names nothing that lies in a group: its scope is not devices`)
  }
  for (const [index, { ask, names }] of variants.entries()) {
    const each = own(names)
    // One of them from outside at a time, and all of them: as what belongs together.
    for (const chosen of each.length > 1 ? [...each.map((name) => [name]), each] : [each]) {
      if (chosen.length === 0) continue
      const other =
        (side: Side): Pick =>
        (name) =>
          (chosen.includes(name) ? side : inside)[name] ?? ''
      const there = await send(ask(other(outside)), key)
      const none = await send(ask(other(nowhere)), key)
      const what = `${nameOf(route)} ${JSON.stringify(ask(other(outside)))} with ${chosen.join(', ')} of the outside`
      if (plain(there, outside, chosen) !== plain(none, nowhere, chosen)) {
        findings.push(`${what}: ${brief(there)}, but for what there is not: ${brief(none)}`)
      }
      if (!isQuestion && there.status < 300 && chosen.some((name) => name !== 'name')) {
        findings.push(`${what}: done, ${brief(there)}`)
      }
      const said = new Set(chosen.map((name) => outside[name]))
      const told = sides.marks.filter((mark) => !said.has(mark) && there.text.includes(mark))
      if (told.length > 0) findings.push(`${what}: tells ${told.join(', ')}`)
      if ([there, none].some(({ status }) => status === 429 || status >= 500)) {
        findings.push(`${what}: not judged, ${brief(there)}`)
      }
    }
    if (!isRead) continue
    const now = await send(
      ask((each) => inside[each] ?? ''),
      key,
    )
    const told = sides.marks.filter((mark) => now.text.includes(mark))
    if (told.length > 0) findings.push(`${nameOf(route)} tells ${told.join(', ')}`)
    const was = before?.[index]
    if (was && plain(was) !== plain(now)) {
      findings.push(
        `${nameOf(route)} says more since the outside is there: ${difference(was, now)}`,
      )
    }
  }
  return findings
}

/** All that a reading route answers, for a comparison later. */
export async function answersOf(
  send: Send,
  route: Route,
  { key, inside }: { key: string; inside: Side },
): Promise<Answer[]> {
  const answers: Answer[] = []
  for (const { ask } of variantsOf(route, inside)) {
    answers.push(
      await send(
        ask((name) => inside[name] ?? ''),
        key,
      ),
    )
  }
  return answers
}

/** Of what can lie in a group; a release and a model are everybody's. */
function own(names: readonly string[]): string[] {
  return names.filter((name) => !['releaseId', 'model'].includes(name))
}

/** What is left of an answer when the things that it was asked about have no names. */
function plain({ status, text }: Answer, side: Side = {}, names: readonly string[] = []): string {
  let same = text.replaceAll(/"requestId":"[^"]*"/g, '')
  for (const name of names) same = same.replaceAll(side[name] ?? '', name)
  return `${status} ${same}`
}

function brief({ status, text }: Answer): string {
  return `${status} ${text.slice(0, 160)}`
}

function difference(was: Answer, now: Answer): string {
  const [from, to] = [plain(was), plain(now)]
  let at = 0
  while (at < from.length && from[at] === to[at]) at++
  const part = (answer: Answer) => plain(answer).slice(Math.max(0, at - 60), at + 80)
  return `${part(was)} | ${part(now)}`
}

function isUuid(text: string): boolean {
  return /^[0-9a-f]{8}-/.test(text)
}
