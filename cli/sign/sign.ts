import { encodeEnvelope } from '../../pki/tuf/envelope.ts'
import { parseStrict } from '../../pki/tuf/json.ts'
import {
  checkModelDraft,
  checkRootDraft,
  checkTargetsDraft,
  componentOf,
  type Highest,
  type PublishProblem,
} from '../../pki/tuf/publish-check.ts'
import { readTargets } from '../../pki/tuf/read.ts'
import type { ImageTarget, PqSignature, Signature } from '../../pki/tuf/types.ts'
import { Failure } from '../failure.ts'
import { describeChange } from './describe.ts'
import { type Draft, requireConsistent } from './draft.ts'
import { replaceFile } from './files.ts'
import {
  keyFilesFor,
  openKeys,
  type Passphrase,
  pinnedRoot,
  storedPassphrase,
  withHalves,
} from './key-folder.ts'
import { appendLog, readLog, requireNotSigned } from './log.ts'
import { measureFile } from './sha256.ts'
import type { TokenLibrary } from './token-key.ts'
import { type Authority, authorityOf } from './trust.ts'

/** What the person who signs is shown before anything is asked of the keys. */
export interface Review {
  repository: Draft['repository']
  role: string
  version: number
  expires: string
  /** The semantic diff against the version before, printable ASCII. */
  lines: string[]
}

export interface SignOptions {
  draft: Draft
  /** Folder with the pinned roots, the signing log and the keys; see initKeys. */
  keysDir: string
  /** Key files to sign with, absolute or relative to the folder. By default all there that may sign this role. */
  keyFiles?: readonly string[]
  /** Asked once for each key file. By default what evaluation mode left in the folder. */
  passphrase?: Passphrase
  /** Shows the review and gives what was typed, which must be the version number. */
  confirm: (review: Review) => string | Promise<string>
  /** Images to hash here, each of which must be one that the draft adds. */
  images?: readonly string[]
  /** How keys in tokens are reached; by the URI alone when left out. */
  tokens?: TokenLibrary
  /** Where the signature file goes. */
  out: string
  now: Date
}

/** What goes back to the server: `POST /metadata/:role/:version/signatures`. */
export interface SignatureFile {
  repository: Draft['repository']
  role: string
  version: number
  signedSha256: string
  signatures: Signature[]
  /** Of the ML-DSA halves, base64; absent in an installation that is not hybrid. */
  pqSignatures?: PqSignature[]
}

/**
 * Signs a draft on a machine that needs no network (updates.md 3.1): verifies what it comes after from the pinned root,
 * checks it as the server and the devices will, shows what it changes and asks for the version number, then signs with
 * every key given. The signing log is written before the signature file. Running it again gives the same file.
 *
 * Throws Failure: `draft` (text, hash and version disagree), `untrusted` (does not follow from the pinned root),
 * `refused` (a check failed, or the log knows better), `not-confirmed`, `passphrase`, `key-folder`.
 */
export async function signDraft(options: SignOptions): Promise<SignatureFile> {
  const { draft, keysDir, now } = options
  requireConsistent(draft)
  const log = readLog(keysDir)
  requireNotSigned(log, draft)
  const authority = authorityOf(draft, pinnedRoot(keysDir, draft.repository), log)
  requireAcceptable(draft, authority, now)
  const lines = [...review(draft, authority), ...(await checkImages(draft, options.images ?? []))]
  await requireConfirmed(draft, { lines, confirm: options.confirm })
  const made = await signWithAll(options, authority)

  const { repository, role, version, signedSha256 } = draft
  const file = { repository, role, version, signedSha256, ...made }
  const keyids = [...made.signatures, ...(made.pqSignatures ?? [])].map(({ keyid }) => keyid)
  appendLog(keysDir, { at: now.toISOString(), repository, role, version, signedSha256, keyids })
  replaceFile(options.out, `${JSON.stringify(file, null, 2)}\n`, 0o644)
  return file
}

/** The publish checks of updates.md 3.2, as far as this machine can know. */
function requireAcceptable(draft: Draft, authority: Authority, now: Date): void {
  const problems = problemsOf(draft, authority, now)
  if (problems.length === 0) return
  const details = problems.slice(0, 20).map(({ detail }) => detail)
  throw new Failure(
    'refused',
    `Version ${draft.version} is not acceptable: ${details.join('; ')}`,
    {
      facts: { problems },
    },
  )
}

function problemsOf(
  { role, signed: text }: Draft,
  { previous, delegation, pqRequired }: Authority,
  now: Date,
): PublishProblem[] {
  const signed = Buffer.from(text)
  const versions = { signed, ...(previous && { previous }), now }
  if (role === 'root') return checkRootDraft(versions)
  if (!delegation) return checkTargetsDraft({ ...versions, pqRequired })
  const fresh = targetsOf(signed)
  // This machine has no list of hardware: the ids are shown to the person instead.
  const hardwareIds = Object.values(fresh).flatMap(({ custom }) => custom.match.hardwareIds)
  const model = role.replace(/^(?:fw|cfg)-/, '')
  const highest = previous ? highestOf(targetsOf(previous)) : new Map()
  return checkModelDraft({ ...versions, model, delegation, hardwareIds, highest })
}

function targetsOf(signed: Buffer): Record<string, ImageTarget> {
  return readTargets(parseStrict(signed, signed.length)).targets
}

/** Of the version before; what was withdrawn earlier only the server remembers. */
function highestOf(targets: Record<string, ImageTarget>): Map<string, Highest> {
  const highest = new Map<string, Highest>()
  for (const [path, { custom }] of Object.entries(targets)) {
    const { build, svn } = custom.match
    const before = highest.get(componentOf(path)) ?? { build: 0, svn: 0 }
    const after = { build: Math.max(build, before.build), svn: Math.max(svn, before.svn) }
    highest.set(componentOf(path), after)
  }
  return highest
}

function review({ role, signed }: Draft, { previous }: Authority): string[] {
  const before = previous && parseStrict(previous, previous.length)
  return describeChange(role, before, parseStrict(Buffer.from(signed), signed.length))
}

/** `--file`: the signer's own look at the bytes, so that nobody has to trust a hash the server typed. */
async function checkImages({ signed }: Draft, paths: readonly string[]): Promise<string[]> {
  if (paths.length === 0) return []
  const targets = Object.entries(targetsOf(Buffer.from(signed)))
  const lines: string[] = []
  for (const path of paths) {
    const { sha256, length } = await measureFile(path)
    const found = targets.find(
      ([, target]) => target.hashes['sha256'] === sha256 && target.length === length,
    )
    if (!found) throw new Failure('refused', `${path} (SHA-256 ${sha256}) is not in this draft`)
    lines.push(`FILE ${path} is ${found[0]}`)
  }
  return lines
}

async function requireConfirmed(
  { repository, role, version, expires }: Draft,
  { lines, confirm }: { lines: string[]; confirm: SignOptions['confirm'] },
): Promise<void> {
  const typed = await confirm({ repository, role, version, expires, lines })
  if (typed.trim() !== String(version)) {
    throw new Failure('not-confirmed', `Nothing was signed: the version is ${version}`, {
      nextStep: `Read what is shown above, then type ${version} (or say --confirm ${version}); each new draft has a version above`,
    })
  }
}

async function signWithAll(
  options: SignOptions,
  { keyids }: Authority,
): Promise<Pick<SignatureFile, 'signatures' | 'pqSignatures'>> {
  const { draft, keysDir } = options
  const files = options.keyFiles
    ? withHalves(keysDir, options.keyFiles)
    : keyFilesFor(keysDir, keyids)
  if (files.length === 0) {
    throw new Failure('key-folder', `${keysDir} holds no key that may sign ${draft.role}`)
  }
  const passphrase = options.passphrase ?? storedPassphrase(keysDir)
  if (!passphrase) throw new Failure('passphrase', 'These keys need their passphrases')
  const keys = await openKeys(keysDir, files, passphrase, options.tokens)
  const stranger = keys.find(({ keyid }) => !keyids.includes(keyid))
  if (stranger) throw new Failure('refused', `${stranger.file} is no key of ${draft.role}`)
  const signed = Buffer.from(draft.signed)
  const signatures: Signature[] = []
  const pqSignatures: PqSignature[] = []
  for (const { isPq, sign } of keys) {
    const half = isPq ? pqSignatures : signatures
    half.push(await sign(signed))
  }
  // Refuses one key given twice, as the server would.
  encodeEnvelope(signed, signatures, pqSignatures)
  return { signatures, ...(pqSignatures.length > 0 && { pqSignatures }) }
}
