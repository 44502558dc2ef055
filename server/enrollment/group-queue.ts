import { spkiHash } from '../certificates/intent.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { EnrollRequest } from './enroll-rules.ts'
import { admitGroup } from './group-admit.ts'
import { type IssueDeps, issueToDevices } from './issue.ts'

type EnrollAlone = (ctx: IssueDeps, request: EnrollRequest) => Promise<Buffer>

interface Waiting {
  request: EnrollRequest
  /** What no two requests of a group, or of groups at the same time, have in common: device, key and request. */
  marks: readonly string[]
  resolve: (der: Buffer) => void
  reject: (error: unknown) => void
}

export interface GroupLimits {
  /** Requests that were taken and not answered: above it a device is asked to come back. */
  readonly requests: number
  /** Of their certificate requests: one may have 64 KiB, and most have half of one. */
  readonly bytes: number
  /** In one group, that is in one transaction. */
  readonly group: number
  /** While one waits for its intents to be stored, another one's certificates are. */
  readonly groupsAtOnce: number
  /** Of a group, what is taken one by one. */
  readonly aloneAtOnce: number
}

const defaults: GroupLimits = {
  requests: 2_000,
  bytes: 16_777_216,
  group: 128,
  groupsAtOnce: 2,
  aloneAtOnce: 4,
}

const queues = new WeakMap<IssueDeps, EnrollmentQueue>()

/** One for each context, that is for each process. */
export function queueOf(ctx: IssueDeps, alone: EnrollAlone): EnrollmentQueue {
  const before = queues.get(ctx)
  if (before) return before
  const queue = new EnrollmentQueue(ctx, alone)
  queues.set(ctx, queue)
  return queue
}

/**
 * Enrolls in groups what is asked for at the same time, so that a production line costs two transactions for many devices
 * instead of two each. Nobody waits for a group to fill: whoever comes while others are worked on goes with the next.
 * Each is answered after the commit of its own certificate, and whatever keeps one from going with a group is decided for it alone.
 */
export class EnrollmentQueue {
  readonly #ctx: IssueDeps
  readonly #alone: EnrollAlone
  readonly #limits: GroupLimits
  #waiting: Waiting[] = []
  readonly #marks = new Set<string>()
  #groups = 0
  #size = 0
  #bytes = 0
  #isScheduled = false

  constructor(ctx: IssueDeps, alone: EnrollAlone, limits: Partial<GroupLimits> = {}) {
    this.#ctx = ctx
    this.#alone = alone
    this.#limits = { ...defaults, ...limits }
  }

  /**
   * @returns the certificate, DER, when it is stored
   * @throws DomainError `busy` when too many wait; otherwise what `enroll` throws
   */
  async enroll(request: EnrollRequest): Promise<Buffer> {
    const { length } = request.csr.der
    const { requests, bytes } = this.#limits
    if (this.#size >= requests || this.#bytes + length > bytes) {
      throw new DomainError('busy', 'Too many devices enroll at the same time: come back', {
        retryAfterSeconds: 5,
      })
    }
    this.#size++
    this.#bytes += length
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
    this.#waiting.push({ request, marks: marksOf(request), resolve, reject })
    this.#schedule()
    try {
      return await promise
    } finally {
      this.#size--
      this.#bytes -= length
    }
  }

  /** After everything that has arrived by now was read. */
  #schedule(): void {
    if (this.#isScheduled || this.#groups >= this.#limits.groupsAtOnce) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      this.#pump()
    })
  }

  #pump(): void {
    while (this.#groups < this.#limits.groupsAtOnce) {
      const group = this.#take()
      if (group.length === 0) return
      this.#groups++
      void this.#run(group).finally(() => {
        this.#groups--
        for (const { marks } of group) for (const mark of marks) this.#marks.delete(mark)
        this.#pump()
      })
    }
  }

  /** Those who wait longest and have nothing in common, with each other or with those that are worked on. */
  #take(): Waiting[] {
    const group: Waiting[] = []
    const kept: Waiting[] = []
    for (const one of this.#waiting) {
      const isFree = one.marks.every((mark) => !this.#marks.has(mark))
      if (isFree && group.length < this.#limits.group) {
        for (const mark of one.marks) this.#marks.add(mark)
        group.push(one)
      } else {
        kept.push(one)
      }
    }
    this.#waiting = kept
    return group
  }

  async #run(group: readonly Waiting[]): Promise<void> {
    if (group.length === 1) return await this.#takeAlone(group)
    let left: readonly Waiting[]
    try {
      left = await this.#together(group)
    } catch (error) {
      if (!isAboutData(error)) {
        for (const { reject } of group) reject(error)
        return
      }
      this.#ctx.log.warn({ code: codeOf(error), requests: group.length }, 'enrolled one by one')
      left = group
    }
    await this.#takeAlone(left)
  }

  /** Returns those that did not go with the others. */
  async #together(group: readonly Waiting[]): Promise<Waiting[]> {
    const ctx = this.#ctx
    const admitted = await inTransaction(ctx.db, (tx) =>
      admitGroup(
        tx,
        ctx,
        group.map(({ request }) => request),
      ),
    )
    const intents = new Map(admitted.map(({ request, intent }) => [request, intent]))
    const issued = await issueToDevices(ctx, [...intents.values()])
    return group.filter(({ request, resolve }) => {
      const der = issued.get(intents.get(request)?.id ?? '')
      if (der) resolve(der)
      return der === undefined
    })
  }

  async #takeAlone(waiting: readonly Waiting[]): Promise<void> {
    const rest = [...waiting]
    const work = async () => {
      for (let one = rest.shift(); one; one = rest.shift()) {
        await this.#alone(this.#ctx, one.request).then(one.resolve, one.reject)
      }
    }
    await Promise.all(Array.from({ length: this.#limits.aloneAtOnce }, work))
  }
}

function marksOf({ csr, names, requestKey }: EnrollRequest): string[] {
  return [
    `device ${names.serialNumber}`,
    `key ${spkiHash(csr.spki).toString('hex')}`,
    `request ${requestKey.toString('hex')}`,
  ]
}

/** A rule, or a SQLSTATE class of what a statement was given: the next one may be better off. */
function isAboutData(error: unknown): boolean {
  return error instanceof DomainError || /^(21|22|23|P0)/.test(codeOf(error))
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}
