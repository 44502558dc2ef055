import { stat } from 'node:fs/promises'

import { parseCertificate } from '../../pki/x509/parse.ts'
import { auditStatus } from '../audit/status.ts'
import { kekFiles } from '../authorities/kek.ts'
import { listBackups } from '../backup/service.ts'
import type { Context } from '../context.ts'
import { readDisk } from '../disk.ts'
import { lookAtStorage } from './examine-storage.ts'
import { error, expiring, type Finding, ok, warning } from './finding.ts'
import {
  countWebhookTrouble,
  type DatabaseFacts,
  listCrlEnds,
  listIssuers,
  listKeyEnds,
  listMetadataEnds,
  readDatabase,
} from './store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'config' | 'authorities' | 'brokers' | 'storage'>

const dayMs = 86_400_000
const leastVersion = 150_000
const onlineRoles = new Set(['timestamp', 'snapshot'])

/** Everything that can be seen from inside, each with what mends it. A look that fails is itself a finding. */
export async function examine(ctx: Deps): Promise<Finding[]> {
  const looks: [name: string, look: (deps: Deps) => Promise<Finding[]>][] = [
    ['database', lookAtDatabase],
    ['audit', lookAtAudit],
    ['certificates', lookAtCertificates],
    ['metadata', lookAtMetadata],
    ['api-keys', lookAtKeys],
    ['disk', lookAtDisk],
    ['storage', lookAtStorage],
    ['backups', lookAtBackups],
    ['key-encryption-key', lookAtKek],
    ['webhooks', lookAtWebhooks],
  ]
  const findings: Finding[] = []
  // One after the other: the embedded database has one connection.
  for (const [name, look] of looks) {
    findings.push(
      ...(await look(ctx).catch(() => [
        error(name, 'This could not be looked at', 'See /readyz and the log of the server'),
      ])),
    )
  }
  findings.push(...judgeBrokers(ctx.brokers))
  findings.push(ok('redis', 'Not used: nothing has to be set up'))
  return findings
}

function judgeBrokers(brokers: Deps['brokers']): Finding[] {
  if (!brokers) return []
  const what = `${brokers.running()} of ${brokers.wanted} broker processes take devices`
  if (brokers.running() === brokers.wanted) return [ok('brokers', what)]
  const fix = 'See the log of the server for "a broker process ended" and "cannot start"'
  return [brokers.running() === 0 ? error('brokers', what, fix) : warning('brokers', what, fix)]
}

async function lookAtDatabase({ db, clock, config }: Deps): Promise<Finding[]> {
  const before = clock.now().getTime()
  const facts = await readDatabase(db)
  const aroundMs = (before + clock.now().getTime()) / 2
  const kind = config.databaseUrl === undefined ? 'embedded database' : 'PostgreSQL'
  const skewSeconds = Math.abs(facts.nowMs - aroundMs) / 1000
  return [...judgeDatabase(kind, facts), clockFinding(skewSeconds, clock.isHeld?.() === true)]
}

/** What the database says of itself, judged. */
export function judgeDatabase(kind: string, facts: DatabaseFacts): Finding[] {
  const version = Math.floor(facts.version / 10_000)
  const megabytes = Math.round(facts.bytes / 1e6)
  const findings = [
    facts.version < leastVersion
      ? error('database', `${kind} ${version} is too old`, 'Upgrade PostgreSQL to 15 or later')
      : ok('database', `${kind} ${version}, ${megabytes} MB, ${facts.migrations} migrations`),
  ]
  if (facts.isStandby) {
    const fix = 'Point DATABASE_URL at the primary'
    findings.push(error('database', 'It is a standby and takes no changes', fix))
  }
  if (facts.connections > facts.maxConnections * 0.8) {
    const what = `${facts.connections} of ${facts.maxConnections} connections are taken`
    const fix = 'Raise max_connections of PostgreSQL, or end what holds them'
    findings.push(warning('database', what, fix))
  }
  if (facts.lagSeconds !== null && facts.lagSeconds > 60) {
    const what = `A standby is ${Math.round(facts.lagSeconds)} s behind`
    findings.push(warning('database', what, 'Look at the network and the load of the standby'))
  }
  return findings
}

function clockFinding(skewSeconds: number, isHeld: boolean): Finding {
  const text = `${skewSeconds.toFixed(1)} s between the clocks of this machine and of the database`
  const fix = 'Set both by NTP: timedatectl set-ntp true'
  if (isHeld) {
    const what = 'The clock of this machine jumped; the server goes on without it'
    return error('clock', what, fix)
  }
  if (skewSeconds > 60) return error('clock', text, fix)
  return skewSeconds > 2 ? warning('clock', text, fix) : ok('clock', text)
}

async function lookAtAudit({ db, config }: Deps): Promise<Finding[]> {
  const { excessiveRights, unsealed } = await auditStatus({ db })
  const findings = [
    excessiveRights.length === 0
      ? ok('audit', 'The server may add to what is recorded and change nothing of it')
      : warning(
          'audit',
          `The role of the server has ${excessiveRights.join(', ')} on what is recorded`,
          config.databaseUrl === undefined
            ? 'The embedded database has one user: for more take PostgreSQL, with a role for the server (docs/audit.md)'
            : 'Give the server a role of its own (docs/audit.md)',
        ),
  ]
  if (unsealed > 10_000) {
    const fix = 'See the log of the server for "audit" workers that fail'
    findings.push(warning('audit', `${unsealed} rows are not in the chain yet`, fix))
  }
  return findings
}

async function lookAtCertificates({ db, clock, authorities }: Deps): Promise<Finding[]> {
  const now = clock.now()
  const fix = 'fleetseal authority create: make the next one ahead (docs/authorities.md)'
  const issuers = (await listIssuers(db)).map(({ name, purpose, certificate }) =>
    expiring('certificates', `authority ${name} (${purpose})`, {
      at: parseCertificate(certificate).notAfter,
      now,
      warnDays: purpose === 'root' ? 365 : 90,
      errorDays: 14,
      fix,
    }),
  )
  const lists = (await listCrlEnds(db)).map(({ name, nextUpdate }) =>
    expiring('revocation-lists', `list of ${name}`, {
      at: nextUpdate,
      now,
      warnDays: 4,
      errorDays: 1,
      fix: 'fleetseal authority list: its key must be usable here; an offline root signs its list at a ceremony',
    }),
  )
  const own = expiring('certificates', 'certificate of this server', {
    at: authorities.tls.notAfter,
    now,
    warnDays: 14,
    errorDays: 3,
    fix: 'It renews by itself: see the log of the server, and that the issuer for servers is active',
  })
  return [own, ...issuers, ...lists]
}

async function lookAtMetadata({ db, clock }: Deps): Promise<Finding[]> {
  const ends = await listMetadataEnds(db)
  if (ends.length === 0) {
    const fix = 'fleetseal sign init, fleetseal sign import'
    return [warning('metadata', 'No roots were imported: updates are not possible', fix)]
  }
  const findings = ends.map(({ repository, role, expiresAt: at }) => {
    const isOnline = onlineRoles.has(role) || (repository === 'director' && role !== 'root')
    return expiring('metadata', `${repository} ${role}`, {
      at,
      now: clock.now(),
      ...(isOnline ? { warnDays: 0, errorDays: 0 } : { warnDays: 30, errorDays: 7 }),
      fix: isOnline
        ? 'It is signed by this server: see its log for "metadata" workers that fail'
        : `fleetseal sign draft ${role}, then fleetseal sign ${role}: two people (docs/signing-keys.md)`,
    })
  })
  if (ends.some(({ isEvaluation }) => isEvaluation)) {
    const fix =
      'Before real devices ship: fleetseal sign init without --evaluation (docs/signing-keys.md)'
    findings.push(warning('metadata', 'EVALUATION KEYS: made for trying things out', fix))
  }
  return findings
}

async function lookAtKeys({ db, clock }: Deps): Promise<Finding[]> {
  const now = clock.now()
  const soon = await listKeyEnds(db, new Date(now.getTime() + 14 * dayMs), now)
  if (soon.length === 0) return [ok('api-keys', 'None expires within 14 days')]
  return soon.map(({ name, expires_at: at }) =>
    warning(
      'api-keys',
      `${name} expires ${at?.toISOString()}`,
      'fleetseal api-key create: make the next one, then revoke this',
    ),
  )
}

async function lookAtDisk({ config }: Deps): Promise<Finding[]> {
  const { state, freeBytes, totalBytes } = await readDisk(config)
  const what = `${Math.round(freeBytes / 1e6)} of ${Math.round(totalBytes / 1e6)} MB are free in the data directory`
  const fix = `Make room on the filesystem of FLEETSEAL_DATA_DIR, or give it more`
  if (state === 'ok') return [ok('disk', what)]
  return [state === 'low' ? warning('disk', what, fix) : error('disk', what, fix)]
}

async function lookAtBackups({ db, clock, config }: Deps): Promise<Finding[]> {
  if (!config.backup) {
    const fix = 'Set FLEETSEAL_BACKUP_DIR and FLEETSEAL_BACKUP_KEY_FILE (docs/operations.md)'
    return [warning('backups', 'None are made by this server', fix)]
  }
  const { files, failure } = await listBackups({ db, config })
  const fix = 'fleetseal backup create, and see the log of the server'
  const findings = failure ? [error('backups', `The last one failed: ${failure.detail}`, fix)] : []
  const [newest] = files
  if (!newest) return [...findings, error('backups', 'There is none yet', fix)]
  const hours = Math.floor((clock.now().getTime() - newest.madeAt.getTime()) / 3_600_000)
  const what = `The newest is ${hours} h old; ${files.length} are kept`
  const isLate = hours * 3_600_000 > 2 * config.backup.everyMs
  return [...findings, isLate ? error('backups', what, fix) : ok('backups', what)]
}

async function lookAtKek({ config }: Deps): Promise<Finding[]> {
  const { current, previous } = kekFiles(config)
  const { mode, size } = await stat(current)
  const findings =
    (mode & 0o077) === 0 && size === 32
      ? [ok('key-encryption-key', 'Only its owner may read it')]
      : [error('key-encryption-key', 'Others than its owner may read it', `chmod 600 ${current}`)]
  const isOld = await stat(previous).then(
    () => true,
    () => false,
  )
  if (isOld) {
    const fix = 'After a backup was made: fleetseal authority confirm-kek'
    findings.push(warning('key-encryption-key', 'The one before the rotation is still there', fix))
  }
  return findings
}

async function lookAtWebhooks({ db }: Deps): Promise<Finding[]> {
  const { failing, dead } = await countWebhookTrouble(db)
  const fix = 'fleetseal webhook list, then fleetseal webhook deliveries and replay'
  const findings: Finding[] = []
  if (failing > 0) findings.push(warning('webhooks', `${failing} receivers cannot be reached`, fix))
  if (dead > 0) findings.push(warning('webhooks', `${dead} deliveries were given up`, fix))
  return findings.length > 0 ? findings : [ok('webhooks', 'Nothing is stuck')]
}
