import { DomainError } from '../errors.ts'

export const minPasswordCharacters = 12
export const maxPasswordBytes = 256

/**
 * What NIST SP 800-63B asks of a password and nothing more: long enough, and none that is tried first. No rules about what it is made of, which people answer
 * with `Password1!`, and no end after which it has to be changed.
 *
 * @throws DomainError `invalid-request` that says what to do instead
 */
export function assertGoodPassword(
  password: string,
  about: { name: string; email: string | null },
): void {
  if (Buffer.byteLength(password, 'utf8') > maxPasswordBytes) {
    throw refused(`The password may have ${maxPasswordBytes} bytes at most`)
  }
  const plain = password.normalize('NFKC')
  if (Array.from(plain).length < minPasswordCharacters) {
    throw refused(
      `The password needs ${minPasswordCharacters} characters at least: several words that do not belong together are easy to keep in mind`,
    )
  }
  const word = essence(plain)
  if (
    new Set(word).size < 4 ||
    isRun(word) ||
    worst.has(word) ||
    worst.has(word.replace(/\d+$/, ''))
  )
    throw refused('This password is among the first that anybody tries: take another')
  if (namesOf(about).some((name) => isMostly(word, name))) {
    throw refused('The password must not be made of the name or the address: take another')
  }
}

/** What is left without the decorations that everybody adds. */
function essence(text: string): string {
  return text.toLowerCase().replaceAll(/[^\p{L}\p{N}]/gu, '')
}

/** `abcdefghijkl`, `123412341234`, `qwertyqwerty`: nothing but a short piece repeated, or neighbours. */
function isRun(word: string): boolean {
  if (rows.some((row) => row.includes(word))) return true
  for (let length = 1; length <= word.length / 2; length++) {
    const piece = word.slice(0, length)
    if (length <= 6 && piece.repeat(Math.ceil(word.length / length)).startsWith(word)) return true
  }
  return false
}

const digits = '01234567890123456789'
const letters = 'abcdefghijklmnopqrstuvwxyz'
const forward = [digits, letters, letters + digits, digits + letters, 'qwertyuiopasdfghjklzxcvbnm']
const rows = [...forward, ...forward.map((row) => row.split('').toReversed().join(''))]

function namesOf({ name, email }: { name: string; email: string | null }): string[] {
  const address = email === null ? [] : [email, ...email.split('@')]
  return [name, ...address, 'fleetseal'].map(essence).filter((text) => text.length >= 4)
}

/** Little more than the name: what is beside it is too short to count. */
function isMostly(word: string, name: string): boolean {
  return word.includes(name) && word.replaceAll(name, '').length < 6
}

function refused(message: string): DomainError {
  return new DomainError('invalid-request', message, { issues: [{ at: 'password', message }] })
}

/** Without digits at their end. Those of twelve characters or more that lists of stolen passwords begin with. */
const worst = new Set(
  `password passwordpassword passwort passwortpasswort letmeinletmein iloveyou iloveyouforever
  administrator adminadmin adminpassword administrador changeme changemenow changemeplease
  changeit pleasechangeme qwertyuiop qwertyuiopasdfghjkl qwertzuiop azertyuiop asdfghjkl
  qazwsxedc qazwsxedcrfv qwerasdfzxcv zaqxswcde zxcvbnmasdfghjkl q1w2e3r4t5y6 1q2w3e4r5t6y
  1qaz2wsx3edc 1qazxsw23edc q1w2e3r4t5y6u7i8 abc123abc123 a1b2c3d4e5f6 1a2b3c4d5e6f p4ssw0rd
  p4ssw0rdp4ssw0rd passw0rdpassw0rd passw0rd trustno1trustno1 welcomewelcome welcometothejungle welcome
  masterpassword secretpassword mypassword mypasswordis thisismypassword newpassword
  temporarypassword temppassword defaultpassword testtesttest testpassword correcthorsebatterystaple
  monkeymonkey dragondragon footballfootball baseballbaseball superman batmanbatman
  sunshinesunshine princessprincess computercomputer internetinternet michaelmichael
  liverpoolfc manchesterunited arsenalfc barcelonafc realmadrid starwarsstarwars
  ilovemyfamily ilovejesus jesuschrist godisgood lovelovelove helloworld hellohellohello
  opensesame whatever nothingmatters unbelievable passwordispassword 123456789abc 12345qwerty
  1234567890qwertyuiop qwerty123456 123qweasdzxc 1q2w3e4r5t 987654321 summersummer wintersummer
  supersecret topsecret supersecretpassword rootroot rootpassword toortoor guestguest useruser`
    .split(/\s+/)
    .filter(Boolean),
)
