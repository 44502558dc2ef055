import { sql } from 'kysely'
import type { Logger } from 'pino'

import { InstallationError } from './authorities/installation-error.ts'
import { type ClockJump, SteadyClock, systemClock } from './clock.ts'
import type { DatabaseHandle, Db } from './db/client.ts'

/** Beyond this no two answers about what has expired can agree (`fleetseal doctor` warns from 2 s on). */
const mostApartMs = 60_000

const words: Readonly<Record<ClockJump['what'], string>> = {
  followed: 'the clock of this machine jumped, and is followed',
  ignored:
    'the clock of this machine jumped; the database does not agree, so time goes on without it: set the clock',
  undecided:
    'the clock of this machine jumped; the database has not said yet whether that is right',
}

/**
 * The server's clock, with that of the database to decide after a jump. The embedded database has the machine's own: nobody else can
 * be asked there.
 *
 * @throws InstallationError when the two are more than a minute apart already: what this server would sign, devices would believe
 */
export async function startClock(
  { kind, db }: DatabaseHandle,
  log: Logger,
  wallMs: () => number = () => systemClock.now().getTime(),
): Promise<SteadyClock> {
  const referee = kind === 'postgres' ? async () => await databaseMs(db) : undefined
  if (referee) {
    const beforeMs = wallMs()
    const apartMs = (await referee()) - (beforeMs + wallMs()) / 2
    if (Math.abs(apartMs) > mostApartMs) {
      const seconds = Math.abs(Math.round(apartMs / 1_000))
      const side = apartMs > 0 ? 'behind' : 'ahead of'
      throw new InstallationError(
        `The clock of this machine is ${seconds} s ${side} that of the database: set both by NTP, then start again`,
      )
    }
  }
  return new SteadyClock({
    referee,
    onJump: ({ byMs, what }) => log[what === 'followed' ? 'warn' : 'error']({ byMs }, words[what]),
  })
}

async function databaseMs(db: Db): Promise<number> {
  const { rows } = await sql<{ ms: number }>`
    select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms`.execute(db)
  return Number(rows[0]?.ms)
}
