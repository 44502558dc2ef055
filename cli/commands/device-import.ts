import { ImportView } from '../../server/enrollment/wire.ts'
import type { CommandInput } from '../command.ts'
import { openCsv } from '../csv-upload.ts'
import { Failure } from '../failure.ts'
import { profileId } from '../lookup.ts'
import { plain } from '../text.ts'

/** Rows that are refused are listed, and make the command fail, after all others were registered. */
export async function importDevices({
  client,
  args: [file = ''],
  values,
  out,
}: CommandInput): Promise<void> {
  const profile = values.needed('profile')
  const isDryRun = values.flag('dry-run')
  const api = await client()
  const path = `/enrollment-profiles/${await profileId(api, profile)}/registrations` as const
  const { source, size } = await openCsv(file)
  const result = await api.upload(ImportView, path, {
    method: 'POST',
    source,
    size,
    query: { dryRun: isDryRun },
    headers: { 'Content-Type': 'text/csv' },
  })
  out.answer(result, (one) =>
    [
      ...one.errors.map(
        ({ line, serialNumber, message }) => `line ${line}: ${plain(serialNumber)}: ${message}`,
      ),
      `${one.rows} rows: ${one.registered} ${isDryRun ? 'would be registered' : 'registered'}, ${one.unchanged} unchanged, ${one.refused} refused`,
    ].join('\n'),
  )
  if (result.refused > 0) {
    throw new Failure('failed', `${result.refused} of ${result.rows} rows were refused`, {
      nextStep: 'Correct those lines and import the file again: the others stay as they are',
    })
  }
}
