import { DeltaError } from '../../server/protocol/delta-z1.ts'
import { DiskError, removeFile } from '../disk.ts'
import { messageOf } from '../errors.ts'
import { rebuild } from './delta.ts'
import { download, type DownloadInput, type Outcome } from './download.ts'
import { inflate } from './inflate.ts'
import { hashFile } from './slots.ts'
import { type Form, Interruption, UnusableForm } from './transfer.ts'

/** How much of the work is the transfer; the rest is making the image of it. */
const transferPercent = 90
/** Not the form's fault: the image itself would not come any better. A full disk is one: without the form there may be room. */
const commonCodes: readonly string[] = ['slow', 'internal']

/**
 * Fetches an image by the shortest way that works: what the director named first, and at last the image itself (updates.md section
 * 5.1). Which ways were given up, and why, is in the outcome. The part file is whole and has the right hash when it is `whole`.
 */
export async function fetchImage(input: DownloadInput): Promise<Outcome> {
  const { disk, wanted } = input
  const { forms = [], part } = wanted
  const notes: string[] = []
  const clear = async () => {
    for (const { method } of forms) await removeFile(disk, formFile(part, method))
  }
  for (const form of (await isThere(input)) ? [] : forms) {
    const outcome = await byForm(input, form)
    if (outcome.done === 'whole') {
      await clear()
      return { done: 'whole', notes: [...notes, ...(outcome.notes ?? [])] }
    }
    if (outcome.done === 'stopped' || commonCodes.includes(outcome.code)) return outcome
    if (outcome.code === 'disk') await removeFile(disk, formFile(part, form.method))
    notes.push(`${form.method} was not used (${outcome.code}): ${outcome.detail}`)
  }
  const outcome = await download(input)
  if (outcome.done !== 'whole') return outcome
  await clear()
  return { done: 'whole', notes: [...notes, ...(outcome.notes ?? [])] }
}

/** A power cut may have come between the last byte and the note of it. */
async function isThere({ disk, wanted }: DownloadInput): Promise<boolean> {
  if ((await disk.size(wanted.part)) !== wanted.length) return false
  return (await hashFile(disk, wanted.part)).sha256 === wanted.sha256
}

async function byForm(input: DownloadInput, form: Form): Promise<Outcome> {
  const { disk, wanted, onProgress, signal } = input
  const file = formFile(wanted.part, form.method)
  const outcome = await download({
    ...input,
    wanted: { sha256: form.sha256, length: form.length, part: file },
    onProgress: (percent) => onProgress(Math.floor((percent * transferPercent) / 100)),
  })
  if (outcome.done !== 'whole') return outcome
  const left = 100 - transferPercent
  const work = {
    disk,
    wanted,
    file,
    onProgress: (percent: number) =>
      onProgress(transferPercent + Math.floor((percent * left) / 100)),
    signal,
  }
  try {
    await (form.method === 'zstd' ? inflate(work) : rebuild({ ...work, form }))
    return outcome
  } catch (error) {
    return unmade(error)
  }
}

function unmade(error: unknown): Outcome {
  if (error instanceof Interruption) return { done: 'stopped' }
  const detail = messageOf(error)
  if (error instanceof DeltaError || error instanceof UnusableForm) {
    return { done: 'failed', final: false, code: error.code, detail }
  }
  const isDisk = error instanceof DiskError || (error instanceof Error && 'code' in error)
  return { done: 'failed', final: false, code: isDisk ? 'disk' : 'internal', detail }
}

function formFile(part: string, method: Form['method']): string {
  return `${part}.${method}`
}
