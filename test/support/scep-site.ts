import { randomBytes } from 'node:crypto'

import type { ScepOutcome } from '../../pki/scep/reply.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { createChallenge } from '../../server/enrollment/challenge.ts'
import { newId } from '../../server/ids.ts'
import { setScepPolicy } from '../../server/scep/policy.ts'
import { ScepPolicyBody } from '../../server/scep/wire.ts'
import { makeParty } from './cms-fixture.ts'
import { createTestDatabase } from './database.ts'
import { listenForDevices } from './est-client.ts'
import { by, createIdentityWorld, type IdentityWorld, unique } from './identity-world.ts'
import { makeRoot } from './pki-fixture.ts'
import { challengedCsr, scepClient } from './scep-client.ts'

export const operator = { id: by.actor, requestId: by.requestId }
export const first = (csr: Buffer) => ({ type: 'PKCSReq', csr }) as const
export const newTransaction = () => randomBytes(8).toString('hex')

/** A key, and a certificate for it that is worth nothing: what a device signs its first request with. */
export const newParty = async () => await makeParty(await makeRoot(), 'RSA-2048')

/** The device's certificate in an answer. A SET has an order of its own: whose it is tells which one it is. */
export function certificateIn(outcome: ScepOutcome): Buffer {
  const all = outcome.status === 'success' && 'certificates' in outcome ? outcome.certificates : []
  const der = all.find((one) => !parseCertificate(one).isCa)
  if (!der) throw new Error(JSON.stringify(outcome))
  return der
}

/** The devices' port with a profile that speaks SCEP. */
export async function openScepSite() {
  const stack = new AsyncDisposableStack()
  const handle = stack.use(await createTestDatabase())
  const world = stack.use(await createIdentityWorld(handle))
  const { ctx } = world
  const listeners = stack.use(await listenForDevices(ctx))
  const server = { port: listeners.device.port, ca: ctx.authorities.rootPem }

  const givenLine = async (profile: Parameters<IdentityWorld['givenProfile']>[0] = {}) => {
    const line = await world.givenProfile(profile)
    const body = ScepPolicyBody.parse({ enabled: true })
    await setScepPolicy(ctx, { profileId: line.id, body, ...by })
    // Renewals at any time.
    await world.givenEstPolicy(line.id, { renewal: { opensPercent: 0, jitterPercent: 0 } })
    return { line, scep: scepClient(server, line.name) }
  }
  const { line, scep } = await givenLine()

  const givenChallenge = async (
    serialNumber: string,
    { profileId = line.id, minutes = 60 }: { profileId?: string; minutes?: number } = {},
  ): Promise<string> => {
    const now = ctx.clock.now()
    const expiresAt = new Date(now.getTime() + minutes * 60_000)
    const command = { id: newId(now), profileId, serialNumber, expiresAt, ...by }
    return (await createChallenge(ctx, command)).challenge
  }

  /** A device that enrolled by SCEP, with the certificate it has now. */
  const givenDevice = async (serialNumber = unique('PUMP')) => {
    const own = await newParty()
    const challenge = await givenChallenge(serialNumber)
    const csr = challengedCsr(own, { commonName: serialNumber, challenge })
    const question = { question: first(csr), party: own, transactionId: newTransaction() }
    const certificate = certificateIn(await scep.ask(question))
    return { serialNumber, key: own.key, certificate, own, challenge, csr, question }
  }

  return {
    world,
    ctx,
    server,
    line,
    scep,
    givenLine,
    givenChallenge,
    givenDevice,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

export type ScepSite = Awaited<ReturnType<typeof openScepSite>>
