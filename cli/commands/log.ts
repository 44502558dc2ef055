import { readFile, writeFile } from 'node:fs/promises'

import { z } from 'zod'

import { leafHash, TreeEdge } from '../../pki/merkle.ts'
import { showsConsistent } from '../../pki/tuf/log-entry.ts'
import { ConsistencyView, LogEntryView, LogHeadView } from '../../server/transparency/wire.ts'
import type { ApiClient } from '../api.ts'
import type { CommandInput, Noun } from '../command.ts'
import { Failure, usageError } from '../failure.ts'
import { Page } from '../page.ts'

export const logNoun: Noun = {
  noun: 'log',
  summary: 'the public record of everything that was published',
  commands: [
    {
      verb: 'show',
      args: '',
      summary: 'How many entries it has, and the root over them',
      run: async ({ client, out }) => show(out, await head(await client())),
    },
    {
      verb: 'verify',
      args: '',
      summary:
        'Fetch every entry and compute the root; with --seen, also that nothing seen before was changed',
      options: {
        seen: {
          type: 'string',
          value: 'FILE',
          about: 'the head that was verified last; written anew when all is well',
        },
      },
      run: verify,
    },
    {
      verb: 'consistency',
      args: 'SIZE:ROOT',
      summary: 'Prove that the log still begins with what a head that somebody holds was over',
      run: consistency,
    },
    {
      verb: 'export',
      args: 'FILE',
      summary: 'Write every entry, one line of JSON each',
      run: async ({ client, args: [file = ''], out }) => {
        const lines: string[] = []
        for await (const entry of entriesOf(await client())) lines.push(JSON.stringify(entry))
        await writeFile(file, `${lines.join('\n')}\n`, { mode: 0o600 })
        out.fields({ file, entries: lines.length }, (one) => [
          ['written', one.file],
          ['entries', one.entries],
        ])
      },
    },
  ],
}

async function verify({ client, values, out }: CommandInput): Promise<void> {
  const api = await client()
  const file = values.text('seen')
  const seen = file === undefined ? undefined : await readSeen(file)
  const claimed = await head(api)
  if (seen && claimed.size < seen.size) {
    throw forked(`The log had ${seen.size} entries and has ${claimed.size} now`)
  }
  const tree = new TreeEdge(0, [])
  for await (const { no, data } of entriesOf(api)) {
    if (no !== tree.size) throw forked(`Entry ${tree.size} is missing`)
    tree.append(leafHash(Buffer.from(data)))
    const isSeen = tree.size === seen?.size
    if (isSeen && tree.root.toString('hex') !== seen?.root) {
      throw forked(`The first ${seen?.size} entries are not those that were verified before`)
    }
    // It grows while it is read.
    if (tree.size >= claimed.size) break
  }
  const root = tree.root.toString('hex')
  if (tree.size !== claimed.size || root !== claimed.root) {
    throw forked(`The entries give ${root}, the server says ${claimed.root}`)
  }
  if (file !== undefined) await writeFile(file, `${JSON.stringify(claimed)}\n`, { mode: 0o600 })
  out.fields({ ...claimed, seen: seen?.size ?? 0 }, (one) => [
    ['log', 'holds'],
    ['entries', one.size],
    ['seen before', one.seen],
    ['root', one.root],
  ])
}

async function consistency({ client, args: [given = ''], out }: CommandInput): Promise<void> {
  const [, size, root = ''] = /^([1-9]\d{0,15}):([0-9a-f]{64})$/.exec(given) ?? []
  if (size === undefined) throw usageError('A head is SIZE:ROOT, as "fleetseal log show" gives it')
  const api = await client()
  const from = { size: Number(size), root }
  const { to, proof } = await api.get(ConsistencyView, '/log/consistency', { from: size })
  if (!showsConsistent(from, to, { included: {}, consistent: { [size]: proof } })) {
    throw forked(`The log of ${to.size} entries does not continue the one of ${size}`)
  }
  out.fields({ from, to }, (one) => [
    ['log', 'continues'],
    ['from', `${one.from.size}:${one.from.root}`],
    ['to', `${one.to.size}:${one.to.root}`],
  ])
}

function forked(message: string): Failure {
  return new Failure('log-forked', message, {
    nextStep:
      'Keep both heads: they prove it. Stop rollouts, and find out whether a backup was restored or keys were stolen',
  })
}

async function head(api: ApiClient): Promise<LogHeadView> {
  return await api.get(LogHeadView, '/log')
}

function entriesOf(api: ApiClient): AsyncIterable<LogEntryView> {
  return api.list(Page(LogEntryView), '/log/entries')
}

const Seen = z.strictObject(LogHeadView.shape)

/** Undefined before the first time. */
async function readSeen(file: string): Promise<LogHeadView | undefined> {
  const text = await readFile(file, 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  try {
    return Seen.parse(JSON.parse(text))
  } catch {
    throw usageError(`${file} holds no head of a log`)
  }
}

function show(out: CommandInput['out'], one: LogHeadView): void {
  out.fields(one, ({ size, root }) => [
    ['entries', size],
    ['root', root],
    ['head', `${size}:${root}`],
  ])
}
