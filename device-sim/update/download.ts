import { createHash, type Hash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

import { type Disk, DiskError, removeFile } from '../disk.ts'
import { messageOf } from '../errors.ts'
import { ask, type DownloadServer, type Mirror } from './ask.ts'
import { type ChunkLink, receiveChunks } from './chunk-transfer.ts'
import { type StoreHost, StoreRedirects } from './store-redirects.ts'
import {
  type DownloadRules,
  Failure,
  Interruption,
  pacer,
  type RateGuard,
  rateGuard,
  type Wanted,
} from './transfer.ts'

export type Outcome =
  /** `notes`: which ways were given up on the way, and why. */
  | { done: 'whole'; notes?: readonly string[] }
  | { done: 'stopped' }
  /** Counts as a try; `final` when trying again cannot help. */
  | { done: 'failed'; final: boolean; code: string; detail: string }

export interface DownloadInput {
  disk: Disk
  server: () => DownloadServer
  /** Asked first, one after the other, each once. */
  mirrors?: readonly Mirror[] | undefined
  /** To which the server may send this device for bytes, by a link. */
  redirectHosts?: readonly StoreHost[] | undefined
  /** To the broker, for chunks. */
  link: ChunkLink
  wanted: Wanted
  rules: DownloadRules
  onProgress: (percent: number) => void
  signal: AbortSignal
}

const writeBytes = 262_144
const firstWaitMs = 500
const maxWaitMs = 60_000

type Way = 'https' | 'mqtt' | Mirror

/**
 * Fetches an artifact into the part file, by HTTPS (`GET /artifacts/:sha256`) or in chunks over MQTT (updates.md section 6, and
 * section 4 step 10): never more bytes than the target has, not slower than the rules allow, on from where it stopped after
 * an interruption or a restart, also by the other way. The part is durable and has the right hash when the outcome is `whole`.
 */
export async function download(input: DownloadInput): Promise<Outcome> {
  const { delivery } = input.rules
  const { outcome, notes } = await fromMirrors(input)
  if (outcome) return outcome
  const store = new StoreRedirects(input.redirectHosts ?? [])
  let way: Way = delivery === 'mqtt' ? 'mqtt' : 'https'
  let waitMs = firstWaitMs
  let before = -1
  while (!input.signal.aborted) {
    try {
      const isWhole = await fetchRest(input, way, store)
      if (isWhole) return { done: 'whole', notes }
      if (store.isFollowed) notes.push(store.giveUp('hash', 'it sent other bytes'))
    } catch (error) {
      if (input.signal.aborted) break
      if (store.isFollowed && (error instanceof Interruption || error instanceof Failure)) {
        // What it kept is good for the server to go on from.
        notes.push(store.giveUp(codeOf(error), error.message))
        continue
      }
      if (!(error instanceof Interruption)) return failed(error)
      const size = (await input.disk.size(input.wanted.part)) ?? 0
      // Waiting grows only while nothing comes through.
      waitMs = size > before ? firstWaitMs : Math.min(waitMs * 2, maxWaitMs)
      before = size
      if (delivery === 'auto' && error.isUnreachable) way = otherWay(way, input.link)
      const wait = error.waitMs ?? waitMs * (0.5 + Math.random() / 2)
      await sleep(wait, undefined, { signal: input.signal }).catch(() => {})
    }
  }
  return { done: 'stopped' }
}

/** Whatever goes wrong with a mirror, the next one is asked, and the server in the end. */
async function fromMirrors(
  input: DownloadInput,
): Promise<{ outcome: Outcome | undefined; notes: string[] }> {
  const notes: string[] = []
  for (const mirror of input.mirrors ?? []) {
    if (input.signal.aborted) return { outcome: { done: 'stopped' }, notes }
    try {
      if (await fetchRest(input, mirror)) return { outcome: { done: 'whole', notes }, notes }
      notes.push(`${mirror.url} was not used (hash): it sent other bytes`)
    } catch (error) {
      if (!(error instanceof Interruption || error instanceof Failure)) {
        return { outcome: failed(error), notes }
      }
      notes.push(`${mirror.url} was not used (${codeOf(error)}): ${error.message}`)
    }
  }
  return { outcome: undefined, notes }
}

function codeOf(error: Interruption | Failure): string {
  return error instanceof Failure ? error.code : 'unreachable'
}

/** HTTPS costs the server less; chunks only while the broker is there to bring them. */
function otherWay(way: Way, link: ChunkLink): Way {
  return way === 'https' && link.isConnected ? 'mqtt' : 'https'
}

function failed(error: unknown): Outcome {
  if (error instanceof Failure) {
    return { done: 'failed', final: error.isFinal, code: error.code, detail: error.message }
  }
  const code = error instanceof DiskError || isNodeError(error) ? 'disk' : 'internal'
  return { done: 'failed', final: false, code, detail: messageOf(error) }
}

function isNodeError(error: unknown): boolean {
  return error instanceof Error && 'code' in error
}

/** One request for what is missing. True when the part is whole and right. */
async function fetchRest(
  { disk, server, link, wanted, rules, ...input }: DownloadInput,
  way: Way,
  store?: StoreRedirects,
): Promise<boolean> {
  const { part, length, sha256 } = wanted
  let kept = (await disk.size(part)) ?? 0
  if (kept > length) {
    await removeFile(disk, part)
    kept = 0
  }
  const hash = await hashOf(disk, part)
  if (way === 'mqtt' && kept < length) {
    await receiveChunks({ link, disk, wanted, rules, hash, from: kept, ...input })
    return await finish(disk, { part, sha256, isResumed: kept > 0, found: hash.digest('hex') })
  }
  if (kept < length || length === 0) {
    const source = way === 'https' || way === 'mqtt' ? server() : way
    const asked = { from: kept, signal: input.signal }
    const follow = way === 'https' && store?.isOpen ? store : undefined
    const first = await ask(source, wanted, { ...asked, asksForLink: follow !== undefined })
    const response = follow ? await follow.follow(first, asked) : first
    const isConnected = 'url' in source || link.isConnected
    kept = startOf(response, { wanted, kept, isConnected })
    if (kept === 0) await removeFile(disk, part)
    const rest = kept === 0 ? createHash('sha256') : hash
    await receive(response, { disk, wanted, rules, hash: rest, from: kept, ...input })
    return await finish(disk, { part, sha256, isResumed: kept > 0, found: rest.digest('hex') })
  }
  return await finish(disk, { part, sha256, isResumed: true, found: hash.digest('hex') })
}

async function finish(
  disk: Disk,
  {
    part,
    sha256,
    isResumed,
    found,
  }: { part: string; sha256: string; isResumed: boolean; found: string },
): Promise<boolean> {
  if (found === sha256) {
    if ((await disk.size(part)) === undefined) await disk.write(part, Buffer.alloc(0))
    await disk.fsync(part)
    await disk.fsyncDir()
    return true
  }
  await removeFile(disk, part)
  // A power cut may have torn what was kept from before: that is no attack, the next request starts from nothing.
  if (isResumed) return false
  throw new Failure('hash', `The server sent other bytes: ${found.slice(0, 16)}`, true)
}

async function hashOf(disk: Disk, part: string): Promise<Hash> {
  const hash = createHash('sha256')
  for await (const piece of disk.chunks(part)) hash.update(piece)
  return hash
}

/** From which byte the answer goes on. Throws for an answer that is no part of the artifact. */
function startOf(
  response: IncomingMessage,
  { wanted, kept, isConnected }: { wanted: Wanted; kept: number; isConnected: boolean },
): number {
  const { statusCode = 0, headers } = response
  if (statusCode === 200) return 0
  if (statusCode === 206) {
    const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers['content-range'] ?? '')
    if (Number(match?.[1]) === kept && Number(match?.[3]) === wanted.length) return kept
    response.destroy()
    throw new Failure('bad-range', 'The server answered with another range', false)
  }
  response.destroy()
  const isRefusal = statusCode >= 400 && statusCode < 500 && statusCode !== 429
  if (isRefusal && isConnected) {
    throw new Failure(
      `http-${statusCode}`,
      `The server refused the download (${statusCode})`,
      false,
    )
  }
  const seconds = Number(headers['retry-after'])
  const waitMs = seconds > 0 ? Math.min(seconds * 1000, maxWaitMs) : undefined
  throw new Interruption(`The server answered ${statusCode}`, { waitMs })
}

interface Reception extends Pick<
  DownloadInput,
  'disk' | 'wanted' | 'rules' | 'onProgress' | 'signal'
> {
  hash: Hash
  from: number
}

/** The body into the part file, in large writes; the socket waits for the disk. */
async function receive(
  response: IncomingMessage,
  { disk, wanted, rules, hash, from, onProgress, signal }: Reception,
): Promise<void> {
  const slow = rateGuard(rules, () => response.destroy(new Error('Too slow')))
  const pace = pacer(rules.bytesPerSecond, signal)
  let at = from
  let waiting: Buffer[] = []
  let waitingBytes = 0
  const flush = async () => {
    const bytes = Buffer.concat(waiting)
    await disk.writeAt(wanted.part, bytes, at)
    at += bytes.length
    waiting = []
    waitingBytes = 0
    onProgress(wanted.length === 0 ? 100 : Math.floor((at / wanted.length) * 100))
  }
  try {
    for await (const piece of piecesOf(response, slow)) {
      if (at + waitingBytes + piece.length > wanted.length) {
        waitingBytes = 0
        await removeFile(disk, wanted.part)
        throw new Failure('endless-data', 'The server sent more bytes than the target has', true)
      }
      hash.update(piece)
      slow.count(piece.length)
      waiting.push(piece)
      waitingBytes += piece.length
      if (waitingBytes >= writeBytes) await flush()
      await pace(piece.length)
    }
  } finally {
    slow.stop()
    response.destroy()
    // What came is kept, also when the rest did not.
    if (waitingBytes > 0 && at + waitingBytes <= wanted.length) await flush()
  }
  if (at < wanted.length) throw new Interruption('The connection ended early')
}

async function* piecesOf(response: IncomingMessage, guard: RateGuard): AsyncIterable<Buffer> {
  try {
    for await (const piece of response) yield piece as Buffer
  } catch (error) {
    if (guard.tripped) throw new Failure('slow', 'The download fell below the least rate', true)
    throw new Interruption(messageOf(error))
  }
}
