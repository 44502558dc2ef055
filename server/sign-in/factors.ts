import type { Context } from '../context.ts'
import type { Db, Tx } from '../db/client.ts'
import {
  findPasskey,
  getTotp,
  type LocalAccount,
  type Passkey,
  passkeysOf,
  recoveryCodesLeft,
  takeStep,
  usePasskey,
  useRecoveryCode,
} from './credential-store.ts'
import { checkPasskey, hasPasskeys } from './passkeys.ts'
import { hashRecoveryCode } from './recovery-codes.ts'
import { stepOfCode } from './totp.ts'
import type { FactorKind, ShownFactor } from './wire.ts'

/** A factor that fits. `use` takes it up in the transaction of what it opens, and says whether nobody was quicker. */
export interface Proof {
  kind: FactorKind
  personId: string
  use: (tx: Tx, now: Date) => Promise<boolean>
}

export type Verdict =
  | { proof: Proof }
  /** `personId`: whose passkey it was, when it was that for certain. */
  | { proof?: undefined; reason: FactorRefusal; personId?: string }
export type FactorRefusal =
  | 'wrong-code'
  | 'wrong-recovery-code'
  | 'wrong-passkey'
  | 'passkey-counter-behind'

/** Who has to have it (undefined: whoever the passkey belongs to), and what the passkey had to sign. */
export interface Asked {
  personId: string | undefined
  challenge: Buffer | null
  origin: () => string
}

type Deps = Pick<Context, 'db' | 'kek' | 'clock' | 'config'>

/** Looks at a second factor; changes nothing. */
export async function judgeFactor(ctx: Deps, shown: ShownFactor, asked: Asked): Promise<Verdict> {
  switch (shown.kind) {
    case 'totp':
      return await judgeCode(ctx, shown.code, asked.personId)
    case 'recovery-code':
      return judgeRecoveryCode(shown.code, asked.personId)
    case 'passkey':
      return await judgePasskey(ctx, shown.response, asked)
    default:
      return shown satisfies never
  }
}

async function judgeCode(
  { db, kek, clock }: Deps,
  code: string,
  personId: string | undefined,
): Promise<Verdict> {
  const totp = personId === undefined ? undefined : await getTotp(db, personId)
  if (!totp) return { reason: 'wrong-code' }
  const given = { sealed: totp.sealed_secret, code, now: clock.now() }
  const step = stepOfCode(kek, totp.person_id, given)
  if (step === undefined) return { reason: 'wrong-code' }
  return {
    proof: {
      kind: 'totp',
      personId: totp.person_id,
      use: async (tx) => await takeStep(tx, totp.person_id, step),
    },
  }
}

function judgeRecoveryCode(code: string, personId: string | undefined): Verdict {
  if (personId === undefined) return { reason: 'wrong-recovery-code' }
  const hash = hashRecoveryCode(personId, code)
  return {
    proof: {
      kind: 'recovery-code',
      personId,
      use: async (tx, now) => await useRecoveryCode(tx, personId, { hash, now }),
    },
  }
}

async function judgePasskey(
  { db, config }: Deps,
  response: { id: string; response: { userHandle?: string | undefined } },
  { personId, challenge, origin }: Asked,
): Promise<Verdict> {
  const passkey = await findPasskey(db, Buffer.from(response.id, 'base64url'))
  const isOwn = passkey && (personId === undefined || passkey.person_id === personId)
  if (!isOwn || !challenge || !namesOwner(response.response.userHandle, passkey)) {
    return { reason: 'wrong-passkey' }
  }
  const answer = await checkPasskey(config, response, { passkey, challenge, origin: origin() })
  if (!answer.fits) {
    return answer.isBehind
      ? { reason: 'passkey-counter-behind', personId: passkey.person_id }
      : { reason: 'wrong-passkey' }
  }
  const { id, counter: before, person_id: owner } = passkey
  const used = { id, before, counter: answer.counter, is_backed_up: answer.isBackedUp }
  return {
    proof: {
      kind: 'passkey',
      personId: owner,
      use: async (tx, now) => await usePasskey(tx, { ...used, now }),
    },
  }
}

/** The account that the passkey says it is of, when it says so (WebAuthn section 7.2, step 6). */
function namesOwner(userHandle: string | undefined, passkey: Passkey): boolean {
  return (
    userHandle === undefined ||
    Buffer.from(userHandle, 'base64url').toString('latin1') === passkey.person_id
  )
}

export interface Factors {
  hasTotp: boolean
  totpSince: Date | undefined
  passkeys: Passkey[]
  recoveryCodesLeft: number
}

/** What somebody has beside the password. */
export async function factorsOf(db: Db, personId: string): Promise<Factors> {
  const totp = await getTotp(db, personId)
  return {
    hasTotp: totp !== undefined,
    totpSince: totp?.created_at,
    passkeys: await passkeysOf(db, personId),
    recoveryCodesLeft: await recoveryCodesLeft(db, personId),
  }
}

/** The kinds that somebody may show. */
export function kindsOf(config: Context['config'], factors: Factors): FactorKind[] {
  const kinds: FactorKind[] = []
  if (factors.passkeys.length > 0 && hasPasskeys(config)) kinds.push('passkey')
  if (factors.hasTotp) kinds.push('totp')
  if (factors.recoveryCodesLeft > 0) kinds.push('recovery-code')
  return kinds
}

/** Whether the account can be signed in to with these: a password with a second factor, or a passkey. */
export function isEnough(
  { hash }: Pick<LocalAccount, 'hash'>,
  factors: Pick<Factors, 'hasTotp' | 'passkeys'>,
): boolean {
  return factors.passkeys.length > 0 || (hash !== null && factors.hasTotp)
}
