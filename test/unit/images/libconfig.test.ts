import { expect, test } from 'vitest'

import { isGroup, parseLibconfig } from '../../../pki/images/libconfig.ts'
import { readSwDescription } from '../../../pki/images/sw-description.ts'

const hash = 'ab'.repeat(32)
/** The shape of the example that Debian's package brings: boards, lists, comments of all kinds, texts that are not ended by `;`. */
const example = `/* by somebody */
software =
{
	version = "0.1.0"; // of the whole

	myboard = {
		# a revision is a string
		hardware-compatibility: [ "1.0", "1.3", "16#010071"];
		partitions: ( { name = "rootfs"; device = "mtd10"; size = 104896512; } );
		images: (
			{ filename = "rootfs.ubifs"; volume = "rootfs"; type = "ubivol"; sha256 = "${hash.toUpperCase()}" },
			{ name = "bootloader"; version = "2016.01"; install-if-different = true; filename = "u-boot.sb"; device = "mtd1" }
		);
		scripts: ( { filename = "test.lua"; type = "lua"; } );
		uboot: ( { name = "myvar"; value = "4M"; } );
	}
	stable : { other : { files : ( { filename = "a.bin"; compressed = "zstd"; encrypted = true } ) } }
}
`

test('a description with boards, sets and comments is read', () => {
  const read = readSwDescription(Buffer.from(example))
  expect(read.version).toBe('0.1.0')
  expect(read.hardware).toEqual([
    { board: 'myboard', revision: '1.0' },
    { board: 'myboard', revision: '1.3' },
    { board: 'myboard', revision: '16#010071' },
  ])
  const plain = { compressed: undefined, encrypted: false }
  expect(read.images).toEqual([
    { filename: 'rootfs.ubifs', sha256: hash, ...plain },
    { filename: 'u-boot.sb', sha256: undefined, ...plain },
    { filename: 'test.lua', sha256: undefined, ...plain },
    { filename: 'a.bin', sha256: undefined, compressed: 'zstd', encrypted: true },
  ])
})

test('the same as JSON says the same', () => {
  const software = {
    version: '1',
    'hardware-compatibility': ['r3'],
    images: [{ filename: 'a', sha256: hash, compressed: true }],
  }
  expect(readSwDescription(Buffer.from(JSON.stringify({ software })))).toEqual({
    version: '1',
    hardware: [{ board: undefined, revision: 'r3' }],
    images: [{ filename: 'a', sha256: hash, compressed: 'zlib', encrypted: false }],
  })
})

test.each<[string, unknown]>([
  ['a = 1', 1],
  ['a : -17L;', -17],
  ['a = 0xFF', 255],
  ['a = 9223372036854775807L', 9223372036854775807n],
  ['a = 1.5e3', 1500],
  ['a = TRUE', true],
  ['a = "x\\ty\\x41" "z"', 'x\tyAz'],
  ['a = (1, "b", [2, 3])', [1, 'b', [2, 3]]],
  ['a = [ ]', []],
])('%s', (text, value) => {
  expect(parseLibconfig(text).get('a')).toEqual(value)
})

test.each([
  ['a = ', 'line 1, column 5: a value is expected'],
  ['a = 1;\n  b 2', 'line 2, column 5: = or : is expected'],
  ['a = { b = 1', 'line 1, column 12: } is missing'],
  ['a = 1 a = 2', 'line 1, column 7: a is there twice'],
  ['a = [1, "b"]', 'line 1, column 9: an array holds values of one kind'],
  ['a = (1 2)', 'line 1, column 8: , or ) is expected'],
  ['a = "b', 'line 1, column 7: a text has no end'],
  ['a = "\\q"', 'line 1, column 7: an escape that is not known'],
  ['@include "x"', 'line 1, column 1: @include is not allowed'],
  ['/* a', 'line 1, column 1: a comment has no end'],
  [`a = ${'('.repeat(40)}`, 'line 1, column 38: too deep'],
  [`a = ${'{a='.repeat(40)}`, 'line 1, column 102: too deep'],
])('%s is refused where it is wrong', (text, message) => {
  expect(() => parseLibconfig(text)).toThrow(message)
})

test('names that mean something elsewhere are names like others', () => {
  const group = parseLibconfig('constructor = 1')
  expect(isGroup(group)).toBe(true)
  expect(parseLibconfig('constructor = { toString = 2 }').get('toString')).toBeUndefined()
})

test('more settings than any image has are refused', () => {
  expect(() => parseLibconfig(`a = [${'1,'.repeat(20_001)}1]`)).toThrow('more than 20000 settings')
})
