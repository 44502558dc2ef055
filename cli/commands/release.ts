import { DeliveryFormView } from '../../server/deltas/wire.ts'
import { ModelView } from '../../server/models/wire.ts'
import { type Advisory, ReleaseView } from '../../server/releases/wire.ts'
import { collect } from '../collect.ts'
import type { CommandInput, Noun } from '../command.ts'
import { usageError } from '../failure.ts'
import { releaseId } from '../lookup.ts'
import { Page } from '../page.ts'
import { readSmall } from '../settings.ts'
import type { Column } from '../table.ts'
import type { Values } from '../values.ts'

const mixed = ['not_technically_feasible', 'fix_is_functional_change'] as const
const classes = ['security', 'feature', 'config'] as const

const columns: Column<ReleaseView>[] = [
  {
    head: 'release',
    cell: (release) => `${release.model}/${release.component}/${release.version}`,
  },
  { head: 'build', cell: (release) => release.build },
  { head: 'class', cell: (release) => release.class },
  { head: 'state', cell: (release) => release.state },
  { head: 'id', cell: (release) => release.id },
]

const formColumns: Column<DeliveryFormView>[] = [
  { head: 'method', cell: (form) => form.method },
  { head: 'from', cell: (form) => form.base?.slice(0, 12) ?? '' },
  { head: 'state', cell: (form) => form.reason ?? form.state },
  { head: 'bytes', cell: (form) => form.length ?? '' },
  { head: 'cpu ms', cell: (form) => form.cpuMs ?? '' },
]

export const releaseNoun: Noun = {
  noun: 'release',
  summary: 'what an artifact is: for which model, which version, why',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'Releases, newest first',
      options: { model: { type: 'string', value: 'MODEL', about: 'only of this model' } },
      run: async ({ client, values, out }) => {
        const query = { model: values.text('model') }
        out.rows(
          await collect((await client()).list(Page(ReleaseView), '/releases', query)),
          columns,
        )
      },
    },
    {
      verb: 'create',
      args: 'MODEL/COMPONENT/VERSION',
      summary: 'Draft a release of an uploaded artifact',
      options: {
        artifact: { type: 'string', value: 'ID', about: 'the artifact (needed)' },
        build: { type: 'string', value: 'N', about: 'rises with every release (needed)' },
        class: { type: 'string', value: 'CLASS', about: `${classes.join(', ')} (needed)` },
        svn: { type: 'string', value: 'N', about: 'anti-rollback counter (the highest so far)' },
        'hardware-id': {
          type: 'string',
          multiple: true,
          value: 'ID',
          about: "for this board (all of the model's)",
        },
        'min-previous': { type: 'string', value: 'BUILD', about: 'only from this build on' },
        requires: {
          type: 'string',
          multiple: true,
          value: 'COMPONENT=BUILD',
          about: 'needs another component',
        },
        fixes: {
          type: 'string',
          multiple: true,
          value: 'CVE',
          about: 'what a security release fixes',
        },
        notes: { type: 'string', value: 'TEXT', about: 'for the owners of devices' },
        'notes-file': { type: 'string', value: 'FILE', about: 'the same from a file' },
        advisory: {
          type: 'string',
          value: 'FILE',
          about: 'JSON: id, severity, url, text, action, exploited',
        },
        mixed: {
          type: 'string',
          value: 'WHY',
          about: `a fix that brings features: ${mixed.join(' or ')}`,
        },
        'mixed-reason': { type: 'string', value: 'TEXT', about: 'and in words' },
      },
      run: create,
    },
    {
      verb: 'show',
      args: 'RELEASE',
      summary: 'One release, by id or MODEL/COMPONENT/VERSION',
      run: async ({ client, args: [given = ''], out }) => {
        const api = await client()
        show(out, await api.get(ReleaseView, `/releases/${await releaseId(api, given)}`))
      },
    },
    {
      verb: 'delivery',
      args: 'RELEASE',
      summary: 'Shorter ways to its image: deltas from what devices run, and zstd',
      run: async ({ client, args: [given = ''], out }) => {
        const api = await client()
        const path = `/releases/${await releaseId(api, given)}/delivery` as const
        out.rows(await collect(api.list(Page(DeliveryFormView), path, {})), formColumns)
      },
    },
    {
      verb: 'submit',
      args: 'RELEASE',
      summary: "Put it into the next draft of the model's signing role",
      run: action('submit'),
    },
    {
      verb: 'publish',
      args: 'RELEASE',
      summary: 'Publish it once the draft has its signatures',
      run: action('publish'),
    },
    {
      verb: 'withdraw',
      args: 'RELEASE',
      summary: 'Take it back; devices that run it keep it',
      run: action('withdraw'),
    },
  ],
}

async function create({ client, args: [path = ''], values, out }: CommandInput): Promise<void> {
  const [model, component, version, ...more] = path.split('/')
  if (!model || !component || !version || more.length > 0) {
    throw usageError(`${path} is not MODEL/COMPONENT/VERSION`, 'Write pump/firmware/1.2.0')
  }
  const artifactId = values.needed('artifact')
  values.needed('build')
  const release = values.oneOf('class', classes)
  if (release === undefined) throw usageError('--class is missing')
  const notes = await notesOf(values)
  const advisory = await advisoryOf(values)
  const requires = requiresOf(values)
  const api = await client()
  const boards = values.texts('hardware-id')
  const hardwareIds =
    boards.length > 0
      ? boards
      : (await api.get(ModelView, `/models/${encodeURIComponent(model)}`)).hardwareIds
  const body = {
    model,
    component,
    version,
    build: values.number('build'),
    class: release,
    svn: values.number('svn'),
    artifactId,
    hardwareIds,
    minPrevious: values.number('min-previous'),
    requires,
    fixes: values.texts('fixes'),
    notes,
    advisory,
    mixedReason: mixedReasonOf(values),
  }
  show(out, await api.create(ReleaseView, '/releases', body))
}

async function notesOf(values: Values): Promise<string | undefined> {
  const file = values.text('notes-file')
  return file === undefined
    ? values.text('notes')
    : await readSmall(file, 'the notes', '--notes-file FILE')
}

async function advisoryOf(values: Values): Promise<Advisory | undefined> {
  const file = values.text('advisory')
  if (file === undefined) return undefined
  const text = await readSmall(file, 'the advisory', '--advisory FILE')
  try {
    // Whether it is one is for the server to say.
    return JSON.parse(text) as Advisory
  } catch {
    throw usageError(`${file} is not JSON`)
  }
}

function mixedReasonOf(values: Values): { kind: string; text: string } | undefined {
  const kind = values.oneOf('mixed', mixed)
  const text = values.text('mixed-reason')
  if (kind === undefined && text === undefined) return undefined
  if (kind !== undefined && text !== undefined) return { kind, text }
  throw usageError('--mixed and --mixed-reason belong together')
}

function requiresOf(values: Values): Record<string, number> {
  const pairs = values.texts('requires').map((text) => {
    const [, component = '', build] = /^([a-z0-9-]{1,32})=(\d{1,15})$/.exec(text) ?? []
    if (build === undefined) throw usageError(`--requires ${text} is not COMPONENT=BUILD`)
    return [component, Number(build)] as const
  })
  return Object.fromEntries(pairs)
}

function action(word: 'submit' | 'publish' | 'withdraw') {
  return async ({ client, args: [given = ''], out }: CommandInput) => {
    const api = await client()
    const path = `/releases/${await releaseId(api, given)}/actions` as const
    const release = await api.act(ReleaseView, path, { action: word })
    show(out, release)
    if (word === 'submit') out.say(`next: fleetseal sign fw-${release.model}`)
  }
}

function show(out: CommandInput['out'], release: ReleaseView): void {
  out.fields(release, (one) => [
    ['release', `${one.model}/${one.component}/${one.version}`],
    ['build', one.build],
    ['svn', one.svn],
    ['class', one.class],
    ['state', one.state],
    ['hardware ids', one.hardwareIds.join(', ')],
    ['fixes', one.fixes.join(', ')],
    ['mixed', one.mixedReason && `${one.mixedReason.kind}: ${one.mixedReason.text}`],
    ['artifact', one.artifactId],
    [
      'signed in',
      one.metadataVersion === null ? null : `fw-${one.model} version ${one.metadataVersion}`,
    ],
    ['id', one.id],
  ])
}
