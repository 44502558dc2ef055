import { type Request, type Response, Router } from 'express'

import { type BlockPool } from '../artifacts/block-pool.ts'
import { createArtifactSender } from '../artifacts/device-router.ts'
import type { Context } from '../context.ts'
import { storable } from '../db/storable.ts'
import { DomainError } from '../errors.ts'
import type { Identity } from '../identity.ts'
import { SeenDevices } from '../mqtt/seen.ts'
import { actionIdIn } from './action-id.ts'
import { cancelAnswer, deploymentAnswer, fileName } from './answers.ts'
import { bodyOf } from './body.ts'
import { takeConfigData } from './config-data.ts'
import { confirm } from './confirmation.ts'
import type { Poller } from './device-store.ts'
import { digestsOf } from './digests.ts'
import { readFeedback } from './feedback.ts'
import { getPoller, knownPoller, whatIsShown } from './poller.ts'
import { checkName, Polls } from './polls.ts'
import type { QuietDevices } from './quiet-devices.ts'
import { takeCancelFeedback, takeFeedback, takeFirstByte, takeRetrieval } from './take-feedback.ts'
import { createQuietDevices } from './workers.ts'

const tenant = 'DEFAULT'

/**
 * hawkBit's Direct Device Integration for the device whose certificate opened the connection (ddi.md §1). The id in the path is a claim
 * that has to be right; nothing is decided by it. Behind `requireDevice`.
 */
export function ddiRouter(
  ctx: Context,
  {
    downloads,
    quiet = createQuietDevices(ctx),
  }: { downloads?: BlockPool | undefined; quiet?: QuietDevices | undefined } = {},
): Router {
  const router = Router({ mergeParams: true })
  const device = new DdiEdge(ctx, quiet, downloads)
  const at = `/${tenant}/controller/v1/:controllerId`
  router.use(at, async (req, res, next) => {
    await device.check(req, res)
    next()
  })
  router.get(at, (req, res) => device.root(req, res))
  router.put(`${at}/configData`, (req, res) => device.configData(req, res))
  router.get(`${at}/deploymentBase/:actionId`, (req, res) =>
    device.deployment(req, res, 'deployment'),
  )
  router.post(`${at}/deploymentBase/:actionId/feedback`, (req, res) => device.feedback(req, res))
  router.get(`${at}/cancelAction/:actionId`, (req, res) => device.cancel(req, res))
  router.post(`${at}/cancelAction/:actionId/feedback`, (req, res) =>
    device.cancelFeedback(req, res),
  )
  router.get(`${at}/confirmationBase/:actionId`, (req, res) =>
    device.deployment(req, res, 'confirmation'),
  )
  router.post(`${at}/confirmationBase/:actionId/feedback`, (req, res) =>
    device.confirmation(req, res),
  )
  router.get(`${at}/softwaremodules/:actionId/artifacts`, (req, res) => device.artifacts(req, res))
  router.get(`${at}/softwaremodules/:actionId/artifacts/:file`, (req, res) =>
    device.artifact(req, res),
  )
  return router
}

class DdiEdge {
  readonly #ctx: Context
  readonly #send: ReturnType<typeof createArtifactSender>
  readonly #seen: SeenDevices
  readonly #polls: Polls

  constructor(ctx: Context, quiet: QuietDevices, downloads?: BlockPool) {
    this.#ctx = ctx
    this.#polls = new Polls(ctx, quiet)
    this.#send = createArtifactSender(ctx, {}, downloads)
    this.#seen = new SeenDevices(ctx)
  }

  async check(req: Request, res: Response): Promise<void> {
    const deviceId = deviceOf(res)
    this.#seen.note(deviceId)
    // A poll is looked at by itself (polls.ts).
    if (isPoll(req)) return
    res.once('close', () => this.#polls.forget(deviceId))
    const said = saidBy(req)
    if (said !== deviceId) checkName(this.#ctx, said, await getPoller(this.#ctx, deviceId))
  }

  async root(req: Request, res: Response): Promise<void> {
    const deviceId = deviceOf(res)
    const asked = { deviceId, said: saidBy(req), agent: agentOf(req), where: this.#where(req) }
    const { body, isRoutine } = await this.#polls.answer(asked)
    res.locals['routine'] = isRoutine
    res.json(body)
  }

  async configData(req: Request, res: Response): Promise<void> {
    const body = await bodyOf(req)
    await takeConfigData(this.#ctx, await knownPoller(this.#ctx, deviceOf(res), agentOf(req)), body)
    done(res)
  }

  async deployment(req: Request, res: Response, key: 'deployment' | 'confirmation'): Promise<void> {
    const poller = await this.#pollerOf(req, res)
    const shown = whatIsShown(poller, this.#ctx.clock.now())
    const isShown = shown.link === `${key}Base`
    if (!isShown || !poller.deployment) throw notThere()
    const digests = await digestsOf(this.#ctx, poller.deployment.sha256)
    await takeRetrieval(this.#ctx, poller, key === 'deployment')
    const handling = shown.link === 'deploymentBase' ? shown.handling : 'attempt'
    const history = Math.trunc(Number(req.query['actionHistory'] ?? 0)) || 0
    res.json(deploymentAnswer({ ...this.#where(req), poller }, key, digests, { handling, history }))
  }

  async feedback(req: Request, res: Response): Promise<void> {
    await takeFeedback(this.#ctx, await given(req, res))
    done(res)
  }

  async cancel(req: Request, res: Response): Promise<void> {
    const poller = await this.#pollerOf(req, res)
    if (whatIsShown(poller, this.#ctx.clock.now()).link !== 'cancelAction') throw notThere()
    res.json(cancelAnswer(poller.action?.id ?? 0))
  }

  async cancelFeedback(req: Request, res: Response): Promise<void> {
    await takeCancelFeedback(this.#ctx, await given(req, res))
    done(res)
  }

  async confirmation(req: Request, res: Response): Promise<void> {
    const poller = await this.#pollerOf(req, res)
    await confirm(this.#ctx, poller, await bodyOf(req))
    done(res)
  }

  async artifacts(req: Request, res: Response): Promise<void> {
    const poller = await this.#pollerOf(req, res)
    if (!poller.deployment) throw notThere()
    const digests = await digestsOf(this.#ctx, poller.deployment.sha256)
    const where = { ...this.#where(req), poller }
    const answer = deploymentAnswer(where, 'deployment', digests, {
      handling: 'attempt',
      history: 0,
    })
    const { chunks } = answer['deployment'] as { chunks: { artifacts: unknown[] }[] }
    res.json(chunks[0]?.artifacts ?? [])
  }

  /** What an open action of the device is about, and nothing else. */
  async artifact(req: Request, res: Response): Promise<void> {
    const poller = await this.#pollerOf(req, res)
    const { deployment, action } = poller
    const file = String(req.params['file'])
    const name = deployment ? fileName(deployment.artifact_name) : ''
    if (!deployment || !action) throw notThere()
    if (file === `${name}.MD5SUM`) {
      const { md5 } = await digestsOf(this.#ctx, deployment.sha256)
      res.type('text/plain').send(`${md5}  ${name}`)
      return
    }
    if (file !== name) throw notThere()
    // What was cancelled goes out no more, and nothing begins that is not offered.
    const { link } = whatIsShown(poller, this.#ctx.clock.now())
    const goesOn = action.started_at !== null && link === 'none'
    if (link !== 'deploymentBase' && !goesOn) throw notThere()
    if (req.method === 'GET' && action.started_at === null) {
      await takeFirstByte(this.#ctx, poller.device_id, action.id)
    }
    res.set('Content-Disposition', `attachment; filename="${name}"`)
    res.set('X-Content-Type-Options', 'nosniff')
    await this.#send(req, res, { deviceId: poller.device_id, sha256: deployment.sha256 })
  }

  /** With the action that the path names, open; another one is not there, lest what comes next is taken for it. */
  async #pollerOf(req: Request, res: Response): Promise<Poller> {
    const id = actionIdIn(String(req.params['actionId']))
    const poller = await getPoller(this.#ctx, deviceOf(res))
    if (id === undefined || poller.action?.id !== id) throw notThere()
    if (poller.action.closed_at !== null) throw notThere()
    return poller
  }

  #where(req: Request) {
    const { publicHost, ports } = this.#ctx.config
    // A port of 0 is only known to whoever asked for it.
    return { host: publicHost, port: ports.device || (req.socket.localPort ?? 0), tenant }
  }
}

async function given(req: Request, res: Response) {
  const body = await bodyOf(req)
  const actionId = actionIdIn(String(req.params['actionId'])) ?? 0
  return { deviceId: deviceOf(res), actionId, feedback: readFeedback(body), body }
}

function deviceOf(res: Response): string {
  const identity: unknown = res.locals['identity']
  if (!identity) throw new DomainError('not-authenticated', 'A device certificate is needed')
  // Set by http/device-auth.ts and by nothing else.
  return (identity as Identity).deviceId
}

function saidBy(req: Request): string {
  return String(req.params['controllerId'])
}

/** Nothing behind the name. */
function isPoll(req: Request): boolean {
  return req.method === 'GET' && req.path === '/'
}

function agentOf(req: Request): string {
  return storable((req.get('user-agent') ?? 'ddi').slice(0, 100))
}

function notThere(): DomainError {
  return new DomainError('not-found', 'There is no such action of this device')
}

function done(res: Response): void {
  res.status(200).set('Content-Length', '0').end()
}
