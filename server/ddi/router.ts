import { type Request, type Response, Router } from 'express'

import type { BlockPool } from '../artifacts/block-pool.ts'
import type { Context } from '../context.ts'
import { SeenDevices } from '../mqtt/seen.ts'
import { actionIdIn } from './action-id.ts'
import { baseOf, cancelAnswer, deploymentAnswer } from './answers.ts'
import { answer, bodyOf } from './body.ts'
import { takeConfigData } from './config-data.ts'
import { confirmationAnswer, takeAutoConfirm, takeConfirmation } from './confirmation.ts'
import { findInstalled } from './device-store.ts'
import { digestsOf } from './digests.ts'
import { Downloads } from './downloads.ts'
import { readFeedback } from './feedback.ts'
import { getPoller, knownPoller, maintenanceWindowOf, whatIsShown } from './poller.ts'
import { checkName, Polls } from './polls.ts'
import type { QuietDevices } from './quiet-devices.ts'
import {
  agentOf,
  deviceOf,
  done,
  historyIn,
  notThere,
  pollerOf,
  saidBy,
  tenant,
  whereOf,
} from './request.ts'
import { takeCancelFeedback, takeFeedback, takeRetrieval } from './take-feedback.ts'
import { createQuietDevices } from './workers.ts'

/**
 * hawkBit's Direct Device Integration for the device whose certificate opened the connection (ddi.md §1). The id in the path is a claim
 * that has to be right; nothing is decided by it. Behind `requireDevice`.
 */
export function ddiRouter(
  ctx: Context,
  {
    downloads: pool,
    quiet = createQuietDevices(ctx),
  }: { downloads?: BlockPool | undefined; quiet?: QuietDevices | undefined } = {},
): Router {
  const router = Router({ mergeParams: true })
  const device = new DdiEdge(ctx, quiet, pool)
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
  router.get(`${at}/installedBase/:actionId`, (req, res) => device.installed(req, res))
  router.get(`${at}/confirmationBase`, (req, res) => device.confirmations(req, res))
  router.post(`${at}/confirmationBase/activateAutoConfirm`, (req, res) =>
    device.autoConfirm(req, res, true),
  )
  router.post(`${at}/confirmationBase/deactivateAutoConfirm`, (req, res) =>
    device.autoConfirm(req, res, false),
  )
  router.get(`${at}/confirmationBase/:actionId`, (req, res) =>
    device.deployment(req, res, 'confirmation'),
  )
  router.post(`${at}/confirmationBase/:actionId/feedback`, (req, res) =>
    device.confirmation(req, res),
  )
  const { downloads } = device
  router.get(`${at}/softwaremodules/:actionId/artifacts`, (req, res) => downloads.list(req, res))
  router.get(`${at}/softwaremodules/:actionId/artifacts/:file`, (req, res) =>
    downloads.file(req, res),
  )
  return router
}

class DdiEdge {
  readonly #ctx: Context
  readonly #seen: SeenDevices
  readonly #polls: Polls
  readonly downloads: Downloads

  constructor(ctx: Context, quiet: QuietDevices, pool?: BlockPool) {
    this.#ctx = ctx
    this.#polls = new Polls(ctx, quiet)
    this.downloads = new Downloads(ctx, pool)
    this.#seen = new SeenDevices(ctx)
  }

  async check(req: Request, res: Response): Promise<void> {
    const deviceId = deviceOf(res)
    const said = saidBy(req)
    this.#seen.note(deviceId)
    if (isDownload(req) && this.downloads.knows(deviceId, said)) return
    this.downloads.forget(deviceId)
    // A poll is looked at by itself (polls.ts).
    if (isPoll(req)) return
    res.once('close', () => this.#polls.forget(deviceId))
    if (said !== deviceId) checkName(this.#ctx, said, await getPoller(this.#ctx, deviceId))
  }

  async root(req: Request, res: Response): Promise<void> {
    const deviceId = deviceOf(res)
    const asked = {
      deviceId,
      said: saidBy(req),
      agent: agentOf(req),
      where: whereOf(this.#ctx, req),
    }
    const { body, isRoutine } = await this.#polls.answer(asked)
    res.locals['routine'] = isRoutine
    answer(req, res, body)
  }

  async configData(req: Request, res: Response): Promise<void> {
    const body = await bodyOf(req)
    await takeConfigData(this.#ctx, await knownPoller(this.#ctx, deviceOf(res), agentOf(req)), body)
    done(res)
  }

  async deployment(req: Request, res: Response, key: 'deployment' | 'confirmation'): Promise<void> {
    const poller = await pollerOf(this.#ctx, req, res)
    const shown = whatIsShown(poller, this.#ctx.clock.now())
    const isShown = shown.link === `${key}Base`
    if (!isShown || !poller.deployment) throw notThere()
    const digests = await digestsOf(this.#ctx, poller.deployment.sha256)
    await takeRetrieval(this.#ctx, poller, key === 'deployment')
    const handling = shown.link === 'deploymentBase' ? shown.handling : 'attempt'
    const told = {
      handling,
      history: historyIn(req),
      maintenanceWindow: maintenanceWindowOf(poller),
    }
    answer(req, res, deploymentAnswer({ ...whereOf(this.#ctx, req), poller }, key, digests, told))
  }

  async feedback(req: Request, res: Response): Promise<void> {
    await takeFeedback(this.#ctx, await given(req, res))
    done(res)
  }

  async cancel(req: Request, res: Response): Promise<void> {
    const poller = await pollerOf(this.#ctx, req, res)
    if (whatIsShown(poller, this.#ctx.clock.now()).link !== 'cancelAction') throw notThere()
    answer(req, res, cancelAnswer(poller.action?.id ?? 0))
  }

  async cancelFeedback(req: Request, res: Response): Promise<void> {
    await takeCancelFeedback(this.#ctx, await given(req, res))
    done(res)
  }

  async confirmation(req: Request, res: Response): Promise<void> {
    const poller = await pollerOf(this.#ctx, req, res)
    await takeConfirmation(this.#ctx, poller, await bodyOf(req))
    done(res)
  }

  async confirmations(req: Request, res: Response): Promise<void> {
    const poller = await getPoller(this.#ctx, deviceOf(res))
    const where = { ...whereOf(this.#ctx, req), poller }
    const isWaiting = whatIsShown(poller, this.#ctx.clock.now()).link === 'confirmationBase'
    const { action } = poller
    const base = baseOf(where)
    const waiting =
      isWaiting && action ? { href: `${base}/confirmationBase/${action.id}` } : undefined
    answer(req, res, confirmationAnswer(base, poller, waiting))
  }

  async autoConfirm(req: Request, res: Response, isOn: boolean): Promise<void> {
    const body = await bodyOf(req)
    const poller = await knownPoller(this.#ctx, deviceOf(res), agentOf(req))
    await takeAutoConfirm(this.#ctx, poller.device_id, isOn ? body : 'end')
    done(res)
  }

  /** What was proven to run is told of, though its bytes go out no more. */
  async installed(req: Request, res: Response): Promise<void> {
    const deviceId = deviceOf(res)
    const id = actionIdIn(String(req.params['actionId'])) ?? 0
    const of = await findInstalled(this.#ctx.db, deviceId, id)
    if (!of) throw notThere()
    const where = { ...whereOf(this.#ctx, req), poller: await getPoller(this.#ctx, deviceId) }
    const digests = await digestsOf(this.#ctx, of.deployment.sha256)
    const told = { handling: 'attempt', history: historyIn(req), of, status: 'FINISHED' } as const
    answer(req, res, deploymentAnswer(where, 'deployment', digests, told))
  }
}

async function given(req: Request, res: Response) {
  const body = await bodyOf(req)
  const actionId = actionIdIn(String(req.params['actionId'])) ?? 0
  return { deviceId: deviceOf(res), actionId, feedback: readFeedback(body), body }
}

/** Nothing behind the name. */
function isPoll(req: Request): boolean {
  return req.method === 'GET' && req.path === '/'
}

function isDownload(req: Request): boolean {
  return req.path.startsWith('/softwaremodules/')
}
