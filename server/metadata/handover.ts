import { decodeEnvelope } from '../../pki/tuf/envelope.ts'
import {
  delegationSigners,
  isPqRequired,
  meetsSigners,
  type Signers,
} from '../../pki/tuf/post-quantum.ts'
import type { TargetsMetadata } from '../../pki/tuf/types.ts'
import type { Db } from '../db/client.ts'
import { authoritiesOf, rootsIn } from './authority.ts'
import type { CurrentMetadata, PublishedFile } from './current.ts'
import { targetsIn } from './drafts.ts'
import { envelopeOf, missingIn } from './progress.ts'
import { findDraft, listSignatures, type MetadataFile } from './store.ts'

/*
 * A model is handed over when the keys that sign it are replaced so that too few of those that signed what is published stay
 * (updates.md 3.5: both release keys lost). Then `targets` waits, signed, until each such model's file is signed by the keys it will have, and
 * all of them are published together: no device ever sees the one without the other.
 */

/** A draft with all the signatures it needs. */
export interface SignedDraft {
  draft: MetadataFile
  envelope: string
}

/** The draft of `targets` that has its signatures and waits; undefined when there is none. */
export async function findHandover(
  db: Db,
  current: CurrentMetadata,
): Promise<SignedDraft | undefined> {
  const draft = await findDraft(db, { repository: 'image', role: 'targets' })
  if (!draft) return undefined
  const envelope = envelopeOf(draft, await listSignatures(db, draft))
  return missingIn(authoritiesOf(current, draft), envelope).length === 0
    ? { draft, envelope }
    : undefined
}

/** Who will sign a model's role; undefined when these targets say nothing about it. */
export function signersAfter(
  current: CurrentMetadata,
  targets: TargetsMetadata,
  role: string,
): Signers | undefined {
  const delegation = targets.delegations?.roles.find(({ name }) => name === role)
  return delegation && delegationSigners(targets, delegation, isPqRequired(rootsIn(current).image))
}

const maxFileBytes = 65_536

/** Whether a published file holds under the keys it will have. */
export function isSignedBy({ text }: Pick<PublishedFile, 'text'>, signers: Signers): boolean {
  return meetsSigners(decodeEnvelope(Buffer.from(text), maxFileBytes), signers)
}

/** Drafts that go out with these targets: of models whose published file would not hold, signed by the keys they will have. */
export async function companionsOf(
  db: Db,
  current: CurrentMetadata,
  envelope: string,
): Promise<SignedDraft[]> {
  const targets = targetsIn(envelope)
  const found: SignedDraft[] = []
  for (const { name } of targets.delegations?.roles ?? []) {
    const signers = signersAfter(current, targets, name)
    const held = current.image.get(name)
    if (!signers || !held || isSignedBy(held, signers)) continue
    const draft = await findDraft(db, { repository: 'image', role: name })
    if (!draft) continue
    const signed = envelopeOf(draft, await listSignatures(db, draft))
    // A new build goes out with its release and not here.
    if (addsNothing(held.text, signed) && missingIn([signers], signed).length === 0) {
      found.push({ draft, envelope: signed })
    }
  }
  return found
}

function addsNothing(before: string, after: string): boolean {
  const known = targetsIn(before).targets
  return Object.keys(targetsIn(after).targets).every((path) => Object.hasOwn(known, path))
}
