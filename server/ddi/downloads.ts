import type { Request, Response } from 'express'

import type { BlockPool } from '../artifacts/block-pool.ts'
import { createArtifactSender } from '../artifacts/device-router.ts'
import type { Context } from '../context.ts'
import { deploymentAnswer, fileName } from './answers.ts'
import { answer } from './body.ts'
import { digestsOf } from './digests.ts'
import { whatIsShown } from './poller.ts'
import { deviceOf, notThere, pollerOf, saidBy, whereOf } from './request.ts'
import { takeFirstByte } from './take-feedback.ts'

/** What a device was found to have a right to, a moment ago. */
interface Grant {
  said: string
  actionId: string
  file: string
  sha256: string
  lastModified: Date
  untilMs: number
}

/** RAUC reads a bundle by hundreds of ranges. Whatever else the device asks ends it earlier. */
const grantMs = 1_000
const mostGrants = 20_000

/** The bytes of what an open action is about (ddi.md §3), and nothing else. */
export class Downloads {
  readonly #ctx: Context
  readonly #send: ReturnType<typeof createArtifactSender>
  readonly #grants = new Map<string, Grant>()

  constructor(ctx: Context, pool?: BlockPool) {
    this.#ctx = ctx
    this.#send = createArtifactSender(ctx, {}, pool)
  }

  /** Was the name in the path found to be right, for a download that still counts? */
  knows(deviceId: string, said: string): boolean {
    return this.#grantOf(deviceId)?.said === said
  }

  /** Something else was asked, after which something else may count. */
  forget(deviceId: string): void {
    this.#grants.delete(deviceId)
  }

  async list(req: Request, res: Response): Promise<void> {
    const poller = await pollerOf(this.#ctx, req, res)
    if (!poller.deployment) throw notThere()
    const digests = await digestsOf(this.#ctx, poller.deployment.sha256)
    const told = { handling: 'attempt', history: 0 } as const
    const where = { ...whereOf(this.#ctx, req), poller }
    const whole = deploymentAnswer(where, 'deployment', digests, told)
    const { chunks } = whole['deployment'] as { chunks: { artifacts: unknown[] }[] }
    answer(req, res, chunks[0]?.artifacts ?? [])
  }

  async file(req: Request, res: Response): Promise<void> {
    const deviceId = deviceOf(res)
    const known = this.#grantOf(deviceId)
    const grant = isFor(known, req) ? known : await this.#judge(req, res)
    if (!grant) return
    res.set('Content-Disposition', `attachment; filename="${grant.file}"`)
    res.set('X-Content-Type-Options', 'nosniff')
    const { sha256, lastModified } = grant
    await this.#send(req, res, { deviceId, sha256, lastModified })
  }

  /** Undefined when it is answered already: the digest beside the file. */
  async #judge(req: Request, res: Response): Promise<Grant | undefined> {
    const poller = await pollerOf(this.#ctx, req, res)
    const { deployment, action, device_id: deviceId } = poller
    const file = String(req.params['file'])
    const name = deployment ? fileName(deployment.artifact_name) : ''
    if (!deployment || !action) throw notThere()
    if (file === `${name}.MD5SUM`) {
      const { md5 } = await digestsOf(this.#ctx, deployment.sha256)
      res.type('text/plain').send(`${md5}  ${name}`)
      return undefined
    }
    if (file !== name) throw notThere()
    // What was cancelled goes out no more, and nothing begins that is not offered.
    const { link } = whatIsShown(poller, this.#ctx.clock.now())
    const goesOn = action.started_at !== null && link === 'none'
    if (link !== 'deploymentBase' && !goesOn) throw notThere()
    const isStarted = action.started_at !== null
    if (req.method === 'GET' && !isStarted) await takeFirstByte(this.#ctx, deviceId, action.id)
    const grant = {
      said: saidBy(req),
      actionId: String(action.id),
      file,
      sha256: deployment.sha256,
      lastModified: deployment.artifact_at,
      untilMs: performance.now() + grantMs,
    }
    // A HEAD begins nothing, and what has not begun has no grant.
    if (req.method === 'GET') this.#remember(deviceId, grant)
    return grant
  }

  #grantOf(deviceId: string): Grant | undefined {
    const grant = this.#grants.get(deviceId)
    return grant && grant.untilMs > performance.now() ? grant : undefined
  }

  #remember(deviceId: string, grant: Grant): void {
    this.#grants.delete(deviceId)
    this.#grants.set(deviceId, grant)
    const [oldest] = this.#grants.keys()
    if (this.#grants.size > mostGrants && oldest !== undefined) this.#grants.delete(oldest)
  }
}

function isFor(grant: Grant | undefined, { params }: Request): grant is Grant {
  return grant?.actionId === params['actionId'] && grant?.file === params['file']
}
