import { spawnSync } from 'node:child_process'
import { createHash, createPublicKey, sign, verify } from 'node:crypto'
import { fileURLToPath } from 'node:url'

import { sql } from 'kysely'
import { z } from 'zod'

import { parseCsr } from '../pki/csr/parse.ts'
import { DerReader } from '../pki/der/reader.ts'
import { tags } from '../pki/der/tags.ts'
import { generatePrivateKey } from '../pki/keys.ts'
import { encodeName } from '../pki/names.ts'
import { answerOcsp, ocspResponder } from '../pki/ocsp/answer.ts'
import { encodeCertId, issuerHashes } from '../pki/ocsp/cert-id.ts'
import { buildOcspRequest } from '../pki/ocsp/request.ts'
import { softwareSigner } from '../pki/signer.ts'
import { newSerial, signCertificate } from '../pki/x509/issue.ts'
import { parseCertificate } from '../pki/x509/parse.ts'
import { deviceIdentity } from '../pki/x509/profiles.ts'
import { newIntent } from '../server/certificates/intent.ts'
import { OcspDesk } from '../server/certificates/ocsp.ts'
import { changeRevocation } from '../server/certificates/revocation.ts'
import { connectPostgres } from '../server/db/client.ts'
import { migrateToLatest } from '../server/db/migrate.ts'
import { enroll } from '../server/enrollment/enroll.ts'
import { newId } from '../server/ids.ts'
import {
  createIdentityWorld,
  type IdentityWorld,
  newRequest,
} from '../test/support/identity-world.ts'
import { startPostgres } from '../test/support/postgres.ts'
import { childrenCpuMs, median } from './cpu.ts'
import { plain, type Row } from './row.ts'

const rounds = 3
const requests = 1_000
/** Of the same code, before anything counts: a server that issues certificates all day has long compiled it. */
const warmUp = { unmeasured: 5, measured: 9 }
const stored = 2_000
/** Requests that wait for their answer at the same time, as behind a line of test benches. */
const parallel = 256
const answers = 3_000
const crlEntries = 100_000

/**
 * Certificates, OCSP answers and revocation lists (pki.md section 2). Rates are for each CPU second of this process, all its
 * threads counted, so that other load on the machine matters little; what PostgreSQL uses is its own.
 */
export async function benchPki(say: (line: string) => void): Promise<Row[]> {
  await using stack = new AsyncDisposableStack()
  say('PostgreSQL, authorities and requests …')
  const postgres = await startPostgres()
  stack.defer(() => postgres.stop())
  const handle = stack.use(connectPostgres(postgres.url))
  await migrateToLatest(handle)
  const world = stack.use(await createIdentityWorld(handle))
  const csrs = Array.from({ length: requests }, (_, n) => newRequest(`BENCH-${n}`).csr)
  say('issuing …')
  const rows = await issuing(world, csrs)
  say('storing …')
  rows.push(...(await storing(world, postgres.pid)))
  say('answering …')
  rows.push(...(await answering(world)))
  say(`a list of ${crlEntries} …`)
  return [...rows, ...listing(), ...(await publishing(world))]
}

/** How many a CPU second, and how many a second by the clock. */
async function rateOf(count: number, work: () => Promise<void>) {
  const cpu = process.cpuUsage()
  const began = performance.now()
  await work()
  const { user, system } = process.cpuUsage(cpu)
  return {
    perCpuSecond: (count * 1e6) / (user + system),
    perSecond: (count * 1_000) / (performance.now() - began),
  }
}

/** The median of interleaved rounds, after some that do not count. */
async function compare(
  works: readonly (() => Promise<void>)[],
  count: number,
  { unmeasured = 1, measured = rounds }: { unmeasured?: number; measured?: number } = {},
): Promise<number[]> {
  const rates: number[][] = works.map(() => [])
  for (let round = 0; round < measured + unmeasured; round++) {
    for (const [at, work] of works.entries()) {
      const { perCpuSecond } = await rateOf(count, work)
      if (round >= unmeasured) rates[at]?.push(perCpuSecond)
    }
  }
  return rates.map(median)
}

async function issuing({ ctx }: IdentityWorld, csrs: readonly Buffer[]): Promise<Row[]> {
  const { devices, urls } = ctx.authorities
  const subject = parseCsr(csrs[0] ?? Buffer.alloc(0)).subject
  const issue = async () => {
    for (const der of csrs) {
      const { spki } = parseCsr(der)
      const id = newId(ctx.clock.now())
      const san = [deviceIdentity(id)]
      const now = ctx.clock.now()
      const intent = newIntent({
        id,
        issuer: devices,
        profile: 'device',
        subject,
        spki,
        san,
        days: 90,
        now,
        urls,
      })
      await signCertificate(intent.tbs, devices.signer)
    }
  }
  const key = generatePrivateKey('P-256')
  const floor = async () => {
    for (const der of csrs) {
      const { spki, tbs, signature } = partsOf(der)
      const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' })
      if (!verify('sha256', tbs, publicKey, signature)) throw new Error('A bad request')
      sign('sha256', tbs, key)
    }
  }
  const [ours = 0, least = 1] = await compare([issue, floor], csrs.length, warmUp)
  return [
    perCpu('crypto floor: parse, verify, sign', least),
    perCpu('certificates before storage, with strict parsing and lint', ours),
    atLeast('  beside the floor', ours / least, 0.6, 2),
  ]
}

/** Found without any check: what parsing costs at the least. */
function partsOf(der: Buffer): { spki: Buffer; tbs: Buffer; signature: Buffer } {
  const request = new DerReader(der).enter(tags.sequence)
  const tbs = request.raw(tags.sequence)
  request.raw(tags.sequence)
  const signature = request.bitStringOctets()
  const content = new DerReader(tbs).enter(tags.sequence)
  content.raw(tags.integer)
  content.raw(tags.sequence)
  return { spki: content.raw(tags.sequence), tbs, signature }
}

/** Distinct devices that the server has never seen, with a token that counts its uses, in a profile with a quota. */
async function storing(world: IdentityWorld, postgresPid: number): Promise<Row[]> {
  const profile = await world.givenProfile({ quota: 1_000_000 })
  const secret = await world.givenToken(profile.id, { maxUses: 1_000_000 })
  const { db } = world.ctx
  const token = await db
    .selectFrom('enrollment_token')
    .selectAll()
    .where('profile_id', '=', profile.id)
    .executeTakeFirstOrThrow()
  const row = await db
    .selectFrom('enrollment_profile')
    .selectAll()
    .where('id', '=', profile.id)
    .executeTakeFirstOrThrow()
  const known = async (csr: Buffer) =>
    await enroll(world.ctx, { token, profile: row, csr: parseCsr(csr) })
  const lookedUp = async (csr: Buffer) => await world.enrollWith(secret, csr)
  const together = await storedBy(known, { lanes: parallel, count: stored }, postgresPid)
  const withToken = await storedBy(lookedUp, { lanes: parallel, count: stored }, postgresPid)
  const alone = await storedBy(known, { lanes: 1, count: stored / 10 }, postgresPid)
  return [
    perCpu(
      `devices enrolled, ${parallel} at once: issued, audited and stored`,
      together.perCpuSecond,
    ),
    plain('  PostgreSQL beside it', `${Math.round(together.postgresMicros)} µs of CPU each`),
    plain('  what two cores give by that', `${Math.round(onTwoCores(together))} a second`),
    atLeast('  a second by the clock, one process beside PostgreSQL', together.perSecond, 2_170),
    plain('  and with the token looked up for each', `${Math.round(withToken.perSecond)} a second`),
    plain('  one after the other', `${Math.round(alone.perSecond)} a second`),
  ]
}

/** With nothing else on them: one core for our one busy thread, and both for all there is to do. */
function onTwoCores({ perCpuSecond, postgresMicros }: Awaited<ReturnType<typeof storedBy>>) {
  return Math.min(perCpuSecond, 2e6 / (1e6 / perCpuSecond + postgresMicros))
}

let line = 0

/** The median of rounds with new devices in each, after one that does not count. */
async function storedBy(
  enrollOne: (csr: Buffer) => Promise<Buffer>,
  { lanes, count }: { lanes: number; count: number },
  postgresPid: number,
) {
  const figures: (Awaited<ReturnType<typeof rateOf>> & { postgresMicros: number })[] = []
  for (let round = 0; round <= rounds; round++) {
    const left = Array.from({ length: count }, () => newRequest(`BENCH-${++line}`).csr)
    const before = childrenCpuMs(postgresPid)
    const rate = await rateOf(count, async () => {
      const work = async () => {
        for (let csr = left.pop(); csr; csr = left.pop()) await enrollOne(csr)
      }
      await Promise.all(Array.from({ length: lanes }, work))
    })
    const postgresMicros = ((childrenCpuMs(postgresPid) - before) * 1_000) / count
    if (round > 0) figures.push({ ...rate, postgresMicros })
  }
  const of = (pick: (figure: (typeof figures)[number]) => number) => median(figures.map(pick))
  return {
    perCpuSecond: of((figure) => figure.perCpuSecond),
    perSecond: of((figure) => figure.perSecond),
    postgresMicros: of((figure) => figure.postgresMicros),
  }
}

async function answering({ ctx, givenDevice }: IdentityWorld): Promise<Row[]> {
  const { devices } = ctx.authorities
  const hashes = issuerHashes(devices.certificate)
  const device = await givenDevice()
  const ask = (serial: Buffer) => buildOcspRequest([encodeCertId('sha1', hashes, serial)])
  const asked = Array.from({ length: answers }, () => ask(newSerial()))
  const desk = new OcspDesk(ctx)
  const signer = softwareSigner(generatePrivateKey('P-256'))
  const intent = newIntent({
    id: newId(ctx.clock.now()),
    issuer: devices,
    profile: 'ocsp-responder',
    subject: encodeName({ commonName: 'Bench OCSP' }),
    spki: signer.spki,
    san: [],
    days: 7,
    now: ctx.clock.now(),
    urls: ctx.authorities.urls,
  })
  const certificate = parseCertificate(await signCertificate(intent.tbs, devices.signer))
  const responder = ocspResponder(devices.certificate, certificate, signer)
  const now = new Date(Math.floor(Date.now() / 1_000) * 1_000)
  const good = { status: 'good', thisUpdate: now, nextUpdate: new Date(+now + 900_000) } as const
  const live = async () => {
    for (const request of asked) await answerOcsp(request, responder, async () => [good], now)
  }
  const again = ask(parseCertificate(device.der).serial)
  const remembered = async () => {
    for (let n = 0; n < answers; n++) await desk.answer(again)
  }
  const [signed = 0, reused = 0] = await compare([live, remembered], answers)
  return [
    atLeast('OCSP answers, each signed, per CPU second', signed, 15_000),
    perCpu('OCSP answers signed before, the status read from PostgreSQL', reused),
  ]
}

const ChildResult = z.object({ ms: z.number(), peakBytes: z.number(), size: z.number() })

function listing(): Row[] {
  const child = fileURLToPath(new URL('crl-child.ts', import.meta.url))
  const results = Array.from({ length: rounds }, () => {
    const { stdout } = spawnSync(process.execPath, [child, String(crlEntries)], {
      encoding: 'utf8',
    })
    return ChildResult.parse(JSON.parse(stdout))
  })
  const ms = median(results.map((result) => result.ms))
  const megabytes = median(results.map((result) => result.peakBytes)) / 1e6
  return [
    atMost(`CRL of ${crlEntries} entries, built and signed`, ms, 150, 'ms'),
    atMost('  peak memory of the whole process', megabytes, 200, 'MB'),
    plain('  size', `${((results[0]?.size ?? 0) / 1e6).toFixed(1)} MB`),
  ]
}

/** From the database: the whole list and 16 shards, with their deltas. */
async function publishing({ ctx, givenDevice }: IdentityWorld): Promise<Row[]> {
  const { id } = ctx.authorities.devices
  const hash = createHash('sha256').digest()
  const later = new Date(ctx.clock.now().getTime() + 86_400_000)
  await sql`insert into certificate (id, authority_id, serial, kind, state, spki_sha256, tbs, der, subject,
      not_before, not_after, revoked_at, revocation_reason, created_at, crl_shard, revocation_rev)
    select gen_random_uuid(), ${id}, '\\x40'::bytea || substring(sha256(n::text::bytea) for 15), 'device', 'revoked', ${hash},
      '', '', '', now(), ${later}, now(), 'keyCompromise', now(), n % 16, 1 from generate_series(1, ${crlEntries}) n`.execute(
    ctx.db,
  )
  const { certificateId } = await givenDevice()
  const by = { id: 'system' }
  const times: number[] = []
  for (let round = 0; round < rounds; round++) {
    const began = performance.now()
    await changeRevocation(ctx, { action: 'hold', certificateId, by })
    await changeRevocation(ctx, { action: 'release', certificateId, by })
    times.push((performance.now() - began) / 2)
  }
  return [
    plain('  one more revoked: read from PostgreSQL, published', `${Math.round(median(times))} ms`),
  ]
}

function perCpu(what: string, rate: number): Row {
  return plain(what, `${Math.round(rate)} per CPU second`)
}

function atLeast(what: string, value: number, target: number, digits = 0): Row {
  return { what, figure: value.toFixed(digits), target: `≥ ${target}`, met: value >= target }
}

function atMost(what: string, value: number, target: number, unit: string): Row {
  const figure = `${Math.round(value)} ${unit}`
  return { what, figure, target: `≤ ${target} ${unit}`, met: value <= target }
}
