import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { buildCsr } from '../../../pki/csr/build.ts'
import { type Csr, parseCsr } from '../../../pki/csr/parse.ts'
import { oids } from '../../../pki/der/oids.ts'
import { oid, printableString, sequence, setOf, utf8String } from '../../../pki/der/writer.ts'
import { PkiError } from '../../../pki/errors.ts'
import { generatePrivateKey } from '../../../pki/keys.ts'
import { encodeName, readName } from '../../../pki/names.ts'
import { lintTbs } from '../../../pki/x509/lint.ts'
import { buildTbs, profiles } from '../../../pki/x509/profiles.ts'
import { compileIdPattern } from '../../../server/enrollment/id-pattern.ts'
import { assertNamesMatch, namesOf, subjectFor } from '../../../server/enrollment/request.ts'
import { NewProfileBody } from '../../../server/enrollment/wire.ts'
import { DomainError } from '../../../server/errors.ts'
import { deviceInput, makeIssuer, makeRoot } from '../../support/pki-fixture.ts'

// Seeded: the same texts in every run. FLEETSEAL_FUZZ_RUNS makes more of them.
const numRuns = Number(process.env['FLEETSEAL_FUZZ_RUNS'] ?? 400)
const seeded = { seed: 20_261_126, numRuns }

const key = generatePrivateKey('P-256')
const id = '5f0c9a6e-0b5d-4c63-9d3a-0123456789ab'

/** What an engine may take for more than text: globs, separators, templates, direction marks. */
const sly = fc.constantFrom(
  '*',
  '**',
  '%',
  '_',
  '?',
  '.*',
  '[a-z]',
  '{{serialNumber}}',
  '${id}',
  ',CN=',
  ', DNS:*',
  '\u0000',
  '\u202e',
  '\n',
  '\\',
  '/',
  '+',
)
const text = fc
  .array(fc.oneof(fc.string({ maxLength: 12 }), fc.string({ unit: 'binary', maxLength: 6 }), sly), {
    maxLength: 6,
  })
  .map((parts) => parts.join(''))
const serial = fc.string({
  unit: fc.constantFrom(...'SN-0123.*?%_[]{}'.split('')),
  minLength: 1,
  maxLength: 16,
})

/** Only a typed refusal may come out of `run`; undefined is one. */
function granted<T>(run: () => T): T | undefined {
  try {
    return run()
  } catch (error) {
    if (error instanceof DomainError) return undefined
    throw error
  }
}

/** The part of a request that the policy looks at. */
function requestOf(subject: Buffer, uris: string[] = []): Pick<Csr, 'subject' | 'subjectAltName'> {
  return {
    subject,
    subjectAltName: uris.map((value) => ({ type: 'uri', value })),
  }
}
const asCsr = (csr: Pick<Csr, 'subject' | 'subjectAltName'>): Csr => ({
  ...parseCsr(buildCsr(key, { subject: encodeName({ commonName: 'x' }) })),
  ...csr,
})

describe('F5 names and policy', () => {
  test('F5 a subject of any attributes gives one serial number of visible ASCII, or a refusal', () => {
    const type = fc.constantFrom(oids.commonName, oids.serialNumber, oids.organization, '1.2.3.4')
    const attribute = fc
      .tuple(type, text)
      .map(([name, value]) => setOf(sequence(oid(name), utf8String(value))))
    fc.assert(
      fc.property(fc.array(attribute, { maxLength: 4 }), (attributes) => {
        const csr = asCsr(requestOf(sequence(...attributes)))
        const names = granted(() => namesOf(csr))
        if (!names) return
        expect(names.serialNumber).toMatch(/^[\x21-\x7e]{1,64}$/)
        const values = readName(csr.subject).map(({ value }) => value)
        expect(values).toContain(names.serialNumber)
      }),
      seeded,
    )
  })

  test('F5 the names in a certificate are those of the record, letter by letter', () => {
    fc.assert(
      fc.property(text, serial, (name, serialNumber) => {
        const subject = granted(() => subjectFor({ name, serial_number: serialNumber }))
        if (!subject) return
        for (const { oid: type, value } of readName(subject)) {
          expect(type === oids.commonName ? [name, serialNumber] : [serialNumber]).toContain(value)
        }
      }),
      seeded,
    )
  })

  test('F5 data is no pattern: only the own names and the own identity match', () => {
    const device = { id, name: 'Pump 7', serial_number: 'SN-7' }
    const own = [device.name, device.serial_number]
    fc.assert(
      fc.property(fc.oneof(text, fc.constantFrom(...own)), fc.option(text), (commonName, uri) => {
        const csr = asCsr(requestOf(sequence(), uri === null ? [] : [uri]))
        const passed = granted(() => {
          assertNamesMatch(csr, { serialNumber: 'SN-7', commonName }, device)
          return true
        })
        expect(passed ?? false).toBe(own.includes(commonName) && uri === null)
      }),
      seeded,
    )
    const csr = asCsr(requestOf(sequence(), [`urn:uuid:${id}`]))
    expect(() =>
      assertNamesMatch(csr, { serialNumber: 'SN-7', commonName: 'SN-7' }, device),
    ).not.toThrow()
  })
})

describe('F5 patterns and profiles', () => {
  test('F5 a serial number with every sign quoted is a pattern of itself alone', () => {
    const quoted = (value: string) => value.replaceAll(/[^\w]/g, (sign) => `\\${sign}`)
    fc.assert(
      fc.property(serial, serial, (one, other) => {
        const matches = compileIdPattern(`^${quoted(one)}$`)
        expect(matches(one)).toBe(true)
        expect(matches(other)).toBe(one === other)
      }),
      seeded,
    )
  })

  test('F5 a profile of anything is one within its bounds, or refused field by field', () => {
    const field = fc.oneof(fc.jsonValue(), text, fc.integer(), fc.constant(id))
    const body = fc.record(
      {
        name: fc.oneof(fc.constantFrom('line-1', 'simpleenroll'), field),
        groupId: fc.oneof(fc.constant(id), field),
        auth: fc.oneof(fc.constant({ type: 'token' }), field),
        registration: fc.oneof(fc.constantFrom('just-in-time'), field),
        idPattern: field,
        quota: fc.oneof(fc.constant(5), field),
        certificateDays: fc.oneof(fc.integer({ min: 0, max: 400 }), field),
        approval: fc.oneof(fc.constant('manual'), field),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(body, (value) => {
        const result = NewProfileBody.safeParse(value)
        if (!result.success) {
          expect(result.error.issues.length).toBeGreaterThan(0)
          return
        }
        const { certificateDays, quota = 0, name } = result.data
        expect(certificateDays >= 1 && certificateDays <= 398 && quota >= 0).toBe(true)
        expect(name).not.toBe('simpleenroll')
      }),
      seeded,
    )
    const { data } = NewProfileBody.safeParse({
      name: 'line-1',
      groupId: id,
      auth: { type: 'token' },
      registration: 'just-in-time',
    })
    expect(data?.certificateDays).toBe(90)
  })
})

describe('F5 the final bytes', () => {
  test('F5 the last look: to-be-signed bytes of any names and dates have findings or keep the profile', async () => {
    const issuer = await makeIssuer(await makeRoot('P-256'))
    const spki = issuer.certificate.spki
    const own = parseCsr(buildCsr(key, { subject: encodeName({ commonName: 'x' }) })).spki
    const days = fc.integer({ min: -400, max: 4000 })
    const input = deviceInput(issuer, own)
    fc.assert(
      fc.property(days, fc.boolean(), serial, (lifeDays, isOwn, value) => {
        const subject = sequence(
          setOf(sequence(oid(oids.serialNumber), printableOr(value))),
          setOf(sequence(oid(oids.commonName), utf8String(value))),
        )
        const notAfter = new Date(input.notBefore.getTime() + lifeDays * 86_400_000)
        let tbs: Buffer
        try {
          tbs = buildTbs('device', { ...input, subject, notAfter, spki: isOwn ? own : spki })
        } catch (error) {
          expect(error).toBeInstanceOf(PkiError)
          return
        }
        const findings = lintTbs(tbs, 'device', issuer.certificate)
        const { maxValidityDays } = profiles.device
        // Both ends belong to the life, so that 0 days are one moment.
        const isWithin = lifeDays >= 0 && lifeDays <= Number(maxValidityDays)
        if (!isWithin || !isOwn) expect(findings).not.toEqual([])
      }),
      seeded,
    )
    expect(lintTbs(buildTbs('device', input), 'device', issuer.certificate)).toEqual([])
  })
})

function printableOr(value: string): Buffer {
  try {
    return printableString(value)
  } catch (error) {
    if (!(error instanceof PkiError)) throw error
    return printableString('0')
  }
}
