import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

import { z } from 'zod'

import { BackupsView, type BackupView, StartedBackupView } from '../../server/backup/wire.ts'
import type { Command, CommandInput, Noun } from '../command.ts'
import { Failure } from '../failure.ts'
import type { Column } from '../table.ts'

const columns: Column<BackupView>[] = [
  { head: 'made', cell: (one) => one.madeAt },
  { head: 'bytes', cell: (one) => one.bytes },
  { head: 'name', cell: (one) => one.name },
]

const keyFile = {
  'key-file': {
    type: 'string',
    value: 'FILE',
    about: 'the passphrase, or the secret key that `backup key` made',
  },
} as const

/** What needs no server runs in a process of its own, with the surroundings of this one (DATABASE_URL, FLEETSEAL_DATA_DIR). */
const offline: Command[] = [
  {
    verb: 'key',
    args: 'FILE',
    summary:
      'Make a key pair: the secret goes into FILE, what is printed into FLEETSEAL_BACKUP_KEY_FILE',
    run: async (input) => {
      const answer = await run(input, 'key')
      input.out.answer(answer, ({ recipient }) => String(recipient))
    },
  },
  {
    verb: 'verify',
    args: 'FILE',
    summary: 'Read a whole backup and say what is in it',
    options: keyFile,
    run: async (input) => show(input, await run(input, 'verify')),
  },
  {
    verb: 'restore',
    args: 'FILE',
    summary:
      'Make an installation of a backup, in the empty FLEETSEAL_DATA_DIR and the empty database of DATABASE_URL',
    options: keyFile,
    run: async (input) => show(input, await run(input, 'restore')),
  },
  {
    verb: 'drill',
    args: 'FILE',
    summary: 'Restore a backup into a temporary place, compare everything, and throw it away',
    options: keyFile,
    run: async (input) => show(input, await run(input, 'drill')),
  },
]

export const backupNoun: Noun = {
  noun: 'backup',
  summary: 'sealed copies of the whole installation',
  commands: [
    {
      verb: 'create',
      args: '',
      summary: 'Make a backup now, on the server (FLEETSEAL_BACKUP_DIR), and wait for it',
      run: create,
    },
    {
      verb: 'list',
      args: '',
      summary: 'The backups that the server keeps, newest first',
      run: async ({ client, out }) => {
        const { backups, failure } = await (await client()).get(BackupsView, '/backups')
        if (failure) out.say(`The last one failed: ${failure.detail}`)
        out.rows(backups, columns)
      },
    },
    ...offline,
  ],
}

async function create({ client, out, world }: CommandInput): Promise<void> {
  const api = await client()
  const { name } = await api.act(StartedBackupView, '/backups', undefined)
  for (;;) {
    const { backups, running, failure } = await api.get(BackupsView, '/backups')
    const made = backups.find((one) => one.name === name)
    if (made) {
      return out.fields(made, (one) => [
        ['name', one.name],
        ['bytes', one.bytes],
        ['made', one.madeAt],
      ])
    }
    if (running !== name) {
      throw new Failure(
        'failed',
        `The backup was not made: ${failure?.detail ?? 'see the log of the server'}`,
      )
    }
    await world.sleep(500)
  }
}

const Answer = z.record(z.string(), z.unknown())
type Answer = z.infer<typeof Answer>
const program = fileURLToPath(new URL('../../server/backup/main.ts', import.meta.url))

async function run(
  { args: [file = ''], values, world }: CommandInput,
  verb: string,
): Promise<Answer> {
  const key = verb === 'key' ? [] : ['--key-file', values.needed('key-file')]
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', program, verb, file, ...key],
    { env: { ...world.env }, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  let answer = ''
  let errors = ''
  child.stdout.on('data', (chunk: Buffer) => (answer += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
  const { promise, resolve, reject } = Promise.withResolvers<number | null>()
  child.once('error', reject)
  child.once('close', resolve)
  const code = await promise
  if (code === 0) return Answer.parse(JSON.parse(answer))
  throw new Failure('failed', errors.trim().slice(0, 4_000) || `the process ended with ${code}`)
}

function show({ out }: CommandInput, answer: Answer): void {
  out.fields(answer, (one) =>
    Object.entries(one).flatMap(([name, value]) =>
      Array.isArray(value) && value.every((item) => typeof item === 'string')
        ? value.map((item): [string, string] => [name, item])
        : [[name, typeof value === 'string' ? value : JSON.stringify(value)]],
    ),
  )
}
