import { generateKeyPairSync } from 'node:crypto'

import { describe, expect, test } from 'vitest'

import { chainHash, chainStart, chainText } from '../../../pki/audit/chain.ts'
import { logName, signCheckpoint } from '../../../pki/audit/checkpoint.ts'
import {
  checkpointLine,
  endLine,
  keyLine,
  logLine,
  parseExportLine,
  rowLine,
} from '../../../pki/audit/export-line.ts'
import { findFork, type Told } from '../../../pki/audit/fork.ts'
import { AuditVerifier } from '../../../pki/audit/verify.ts'
import {
  noteKeyText,
  openNote,
  parseNoteKey,
  rawPublicKey,
  signNote,
} from '../../../pki/signed-note.ts'
import { SeededRandom } from '../../support/fleet/random.ts'

const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const log = logName('0198c0de-7f2a-7c3e-9b1d-2a6f0c9e4d11')
const key = { name: log, publicKey: rawPublicKey(publicKey) }

/** An export of so many rows, with a checkpoint after every fourth and at the end. */
function newExport(count: number, word = 'x'): string[] {
  const lines = [logLine(log, 0, chainStart), keyLine(noteKeyText(key), null)]
  let hash: Buffer = chainStart
  for (let n = 1; n <= count; n++) {
    const text = chainText(n, {
      seq: n * 2,
      at: '2030-01-01T00:00:00.000000Z',
      actor: 'key:1',
      action: 'test.do',
      subject: `${word} "${n}" é \u007f`,
      facts: `{"n": ${n}}`,
      requestId: null,
      ...(n < 3 ? {} : { origin: '{"address": "192.0.2.1"}' }),
    })
    const own = chainHash(hash, text)
    lines.push(rowLine(n, hash, own, text))
    hash = own
    if (n % 4 === 0 || n === count) {
      const at = '2030-01-01T00:00:00.000Z'
      lines.push(checkpointLine(signCheckpoint({ log, chainNo: n, hash, at }, privateKey)))
    }
  }
  return [...lines, endLine(count, hash)].map((line) => line.slice(0, -1))
}

function findingsOf(lines: readonly string[]): string[] {
  const verifier = new AuditVerifier({ keys: [key], kept: [] })
  for (const line of lines) verifier.line(line)
  return verifier.finish().findings.map(({ kind, chainNo }) => `${kind} ${chainNo}`)
}

const honest = newExport(12)
const rowIndexes = honest.flatMap((line, index) => (line.startsWith('{"chainNo"') ? [index] : []))

describe('an export', () => {
  test('that nobody touched holds, up to its last row', () => {
    const verifier = new AuditVerifier({ keys: [key], kept: [] })
    for (const line of honest) verifier.line(line)
    expect(verifier.finish()).toMatchObject({ rows: 12, to: 12, coveredTo: 12, findings: [] })
  })

  test('with any one row deleted, doubled or swapped with any other does not', () => {
    for (const [place, index] of rowIndexes.entries()) {
      expect(findingsOf(honest.toSpliced(index, 1))[0]).toBe(
        // A checkpoint stands behind every fourth.
        `${place % 4 === 3 ? 'cut-off' : 'missing'} ${place + 1}`,
      )
      expect(findingsOf(honest.toSpliced(index, 0, honest[index] ?? ''))).not.toEqual([])
      for (const other of rowIndexes.slice(place + 1)) {
        const swapped = honest.with(index, honest[other] ?? '').with(other, honest[index] ?? '')
        expect(findingsOf(swapped)).not.toEqual([])
      }
    }
  })

  test('with any one character of a row changed does not, and the row is named', () => {
    for (const [place, index] of rowIndexes.entries()) {
      const line = honest[index] ?? ''
      for (let at = 0; at < line.length; at += 7) {
        const changed = line.slice(0, at) + (line[at] === '1' ? '2' : '1') + line.slice(at + 1)
        const [first = ''] = findingsOf(honest.with(index, changed))
        expect(first.split(' ')[1], `${at} of ${line}`).toBe(String(place + 1))
      }
    }
  })

  test('cut off anywhere says so', () => {
    for (let end = 0; end < honest.length; end++) {
      expect(findingsOf(honest.slice(0, end)).join(' ')).toMatch(/incomplete/)
    }
  })

  test('of lines in any order, or of anything else, is refused and breaks nothing', () => {
    const random = new SeededRandom(7)
    for (let n = 0; n < 100; n++) {
      const from = random.between(1, honest.length - 2)
      const to = random.between(1, honest.length - 2)
      const line = honest[from] ?? ''
      const moved = honest.toSpliced(from, 1).toSpliced(to, 0, line)
      const isSame = moved.join('\n') === honest.join('\n') || line.startsWith('{"key"')
      if (!isSame && line.startsWith('{"chainNo"')) expect(findingsOf(moved)).not.toEqual([])
      else findingsOf(moved)
    }
    for (const line of ['', 'null', '[]', '{}', '{"end":-1}', '{"chainNo":1,"row":[]}', '{"a":']) {
      expect(() => parseExportLine(line), line).toThrow('not a line of an audit export')
    }
  })
})

describe('two accounts of a log', () => {
  async function* told(lines: readonly string[]): AsyncGenerator<Told> {
    for (const text of lines) {
      const line = parseExportLine(text)
      if (line.kind === 'row') yield line
    }
  }

  test('agree wherever they begin and end, or part at the first row that differs', async () => {
    const late = honest.filter((_, index) => index > 7)
    expect(await findFork([told(honest), told(late), told(honest.slice(0, 9))])).toBeUndefined()
    const other = [...newExport(12).slice(0, 6), ...newExport(12, 'y').slice(6)]
    expect(await findFork([told(honest), told(honest), told(other)])).toMatchObject({ chainNo: 5 })
  })
})

describe('a signed note', () => {
  /** The example of golang.org/x/mod/sumdb/note. */
  const known = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'
  const note =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n" +
    '— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n'

  test('that others made opens with their key', () => {
    expect(noteKeyText(parseNoteKey(known))).toBe(known)
    expect(openNote(note, [parseNoteKey(known)]).signers).toHaveLength(1)
    expect(openNote(note, [key])).toMatchObject({ signers: [], unknown: [{ id: 'c74f20a3' }] })
    expect(() => openNote(note.replace('answer', 'Answer'), [parseNoteKey(known)])).toThrow(
      'does not hold',
    )
  })

  test('is refused when it is none', () => {
    const good = signNote('one\ntwo\n', log, privateKey)
    expect(openNote(good, [key]).text).toBe('one\ntwo\n')
    for (const bad of [
      '',
      '\n\n',
      good.trimEnd(),
      `${good}x`,
      good.replace('— ', '- '),
      good.replace('\n\n', '\n'),
    ]) {
      expect(() => openNote(bad, [key]), bad).toThrow('not a signed note')
    }
    expect(() => signNote('no newline', log, privateKey)).toThrow()
    expect(() => parseNoteKey('a+b+c')).toThrow()
    expect(() => parseNoteKey(known.replace('c74f20a3', 'c74f20a4'))).toThrow()
  })
})
