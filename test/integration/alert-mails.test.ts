import { expect, test } from 'vitest'

import { sendMails } from '../../server/alerts/mailer.ts'
import { loadConfig } from '../../server/config.ts'
import { AlertWorld } from '../support/alert-world.ts'

const world = AlertWorld.forFile()
const later = (seconds: number) => world.api.ctx.clock.advance({ seconds })
const hour = 3_600

async function givenAlert(...recipients: string[]): Promise<void> {
  await world.rule({ name: 'Logins', channelIds: [await world.mailChannel(...recipients)] })
  await world.happen({ facts: { detail: 'secret of a device' } })
}

test('a mail in plain text says what happened and what to do, and nothing that a device chose', async () => {
  await givenAlert('guard@example.com', 'boss@example.com')
  await world.send()
  const [mail] = world.mail.mails
  expect(mail).toMatchObject({
    from: 'fleet@example.com',
    to: ['guard@example.com', 'boss@example.com'],
  })
  expect(mail?.text).toContain('Subject: [Fleetseal] warning: login-failed (Logins)')
  expect(mail?.text).toContain('Content-Type: text/plain')
  expect(mail?.text).toContain('Auto-Submitted: auto-generated')
  expect(mail?.text).toContain('fleetseal alert acknowledge')
  expect(mail?.text).not.toContain('secret of a device')
  expect(await world.mails()).toMatchObject([{ state: 'delivered', attempts: 1, dueAt: null }])
})

test('a name with line ends makes no header of its own', async () => {
  const channelIds = [await world.mailChannel()]
  const name = 'x\r\nBcc: thief@example.com\r\n\r\nbody'
  await world.rule({ name, channelIds })
  await world.happen({})
  await world.send()
  const [mail] = world.mail.mails
  expect(mail?.to).toEqual(['guard@example.com'])
  const head = mail?.text.split('\r\n\r\n', 1)[0] ?? ''
  expect(head).not.toMatch(/^Bcc:/im)
  const bad = { name: 'c', kind: 'email', recipients: ['a@example.com\r\nBcc: b@example.com'] }
  expect((await world.api.call('POST', '/alert-channels', bad)).status).toBe(400)
})

test.each([421, 451])(
  'a server that answers %i is tried again until it takes the mail, once',
  async (code) => {
    await givenAlert()
    world.mail.answer(code)
    await world.send()
    expect(await world.mails()).toMatchObject([{ state: 'pending', attempts: 1 }])
    await world.send()
    expect(await world.mails()).toMatchObject([{ attempts: 1 }])
    world.mail.answer('take')
    later(10)
    await world.send()
    expect(await world.mails()).toMatchObject([{ state: 'delivered', attempts: 2 }])
    expect(world.mail.mails).toHaveLength(1)
  },
)

test('what is refused for good is a dead letter at once, and can be sent again', async () => {
  await givenAlert()
  world.mail.answer(554)
  await world.send()
  const [dead] = await world.mails('&state=dead')
  expect(dead).toMatchObject({ attempts: 1 })
  expect(String(dead?.['lastError'])).toContain('554')
  const kinds = (await world.api.call('GET', '/events?kind=alert-mail-dead')).body.items ?? []
  expect(kinds).toHaveLength(1)
  world.mail.answer('take')
  const path = `/alert-mails/${String(dead?.['id'])}/actions`
  expect((await world.api.call('POST', path, { action: 'retry' })).body).toMatchObject({
    state: 'pending',
  })
  expect((await world.api.call('POST', path, { action: 'retry' })).status).toBe(409)
  await world.send()
  expect(await world.mails()).toMatchObject([{ state: 'delivered' }])
})

test('one address that is not known does not keep the mail from the others, and is named', async () => {
  await givenAlert('unknown@example.com', 'guard@example.com')
  await world.send()
  expect(world.mail.mails[0]?.to).toEqual(['guard@example.com'])
  const [mail] = await world.mails()
  expect(mail).toMatchObject({ state: 'delivered', lastError: 'not taken for unknown@example.com' })
})

test('a server that says nothing, or is not there, costs its time only; after three days the mail is a dead letter', async () => {
  await givenAlert()
  world.mail.answer('silent')
  await world.send(300)
  expect(await world.mails()).toMatchObject([{ state: 'pending', attempts: 1 }])
  const nowhere = loadConfig({
    FLEETSEAL_SMTP_URL: 'smtp://127.0.0.1:9',
    FLEETSEAL_SMTP_FROM: 'fleet@example.com',
  })
  for (let at = 0; at <= 72; at += 8) {
    later(8 * hour)
    await sendMails({ ...world.api.ctx, config: nowhere })
  }
  const [dead] = await world.mails('&state=dead')
  expect(dead).toBeDefined()
})

test('to another machine nothing goes without TLS', async () => {
  await givenAlert()
  // 0.0.0.0 leads to this machine without being called so.
  const config = loadConfig({
    FLEETSEAL_SMTP_URL: world.mail.url.replace('127.0.0.1', '0.0.0.0'),
    FLEETSEAL_SMTP_FROM: 'fleet@example.com',
  })
  await sendMails({ ...world.api.ctx, config })
  expect(world.mail.mails).toEqual([])
  const [mail] = await world.mails()
  expect(mail).toMatchObject({ state: 'pending' })
  expect(String(mail?.['lastError'])).toMatch(/STARTTLS|TLS/)
})

test('a test mail arrives; without a mail server no channel of that kind is made', async () => {
  const id = await world.mailChannel()
  expect(
    (await world.api.call('POST', `/alert-channels/${id}/actions`, { action: 'test' })).status,
  ).toBe(200)
  await world.send()
  expect(world.mail.mails[0]?.text).toContain('[Fleetseal] a test')
})

test.each([
  ['ftp://example.com', 'a@example.com'],
  ['smtp://example.com/path', 'a@example.com'],
  ['smtp://', 'a@example.com'],
  ['smtp://example.com', undefined],
  [undefined, 'a@example.com'],
  ['smtp://example.com', 'nobody'],
])('the configuration %s from %s is refused', (url, from) => {
  const environment = { FLEETSEAL_SMTP_URL: url, FLEETSEAL_SMTP_FROM: from }
  expect(() => loadConfig(environment as NodeJS.ProcessEnv)).toThrow(/FLEETSEAL_SMTP/)
})
