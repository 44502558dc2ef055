import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { uniqueName } from './disk.ts'
import { OwnerRequest } from './update/owner.ts'

const folder = 'choices'
const maxFiles = 32
const maxBytes = 4_096

/** A choice as handed in; `request` is undefined when the file is no choice at all. */
export interface Handed {
  path: string
  request: OwnerRequest | undefined
}

/** Hands the owner's choice to the agent of this directory, which takes it now or when it starts. Returns its id. */
export async function handChoice(dir: string, choice: Omit<OwnerRequest, 'id'>): Promise<string> {
  const id = `${Date.now()}-${uniqueName('choice')}`
  const request = OwnerRequest.parse({ ...choice, id })
  const path = join(dir, folder)
  await mkdir(path, { recursive: true, mode: 0o700 })
  const temporary = join(path, `${id}.new`)
  await writeFile(temporary, JSON.stringify(request), { mode: 0o600, flush: true })
  await rename(temporary, join(path, `${id}.json`))
  return id
}

/** What was handed in, oldest first, a bounded number at a time. */
export async function readChoices(dir: string): Promise<Handed[]> {
  const names = await readdir(join(dir, folder)).catch(() => [])
  const choices = names.filter((name) => name.endsWith('.json')).toSorted()
  return await Promise.all(
    choices.slice(0, maxFiles).map(async (name) => {
      const path = join(dir, folder, name)
      return { path, request: await readChoice(path) }
    }),
  )
}

/** Called once the choice is stored elsewhere. */
export async function removeChoice({ path }: Handed): Promise<void> {
  await rm(path, { force: true })
}

async function readChoice(path: string): Promise<OwnerRequest | undefined> {
  try {
    if ((await stat(path)).size > maxBytes) return undefined
    const parsed = OwnerRequest.safeParse(JSON.parse(await readFile(path, 'utf8')))
    return parsed.success ? parsed.data : undefined
  } catch {
    return undefined
  }
}
