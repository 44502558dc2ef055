/**
 * Known ways in which an RSA modulus of proper size is still worthless (pki.md C15). Each test is cheap and one-sided:
 * what it flags is broken, what passes is not proven good.
 */

/** CA/Browser Forum BR 6.1.6: no factor below 752. */
const smallPrimes = primesBelow(752)
const primorial = smallPrimes.reduce((product, prime) => product * BigInt(prime), 1n)

/** CA/Browser Forum BR 6.1.1.3: Fermat's method, 100 rounds. */
const fermatRounds = 100

/**
 * ROCA (CVE-2017-15361): primes of the affected generator are powers of 65537 modulo a primorial, so the
 * modulus lies in the subgroup that 65537 generates modulo each of these primes. A random modulus does with a
 * chance below 2^-27.
 */
const rocaPrimes = smallPrimes.filter((prime) => prime > 2 && prime <= 167)
const rocaSubgroups = rocaPrimes.map((prime) => {
  const members = new Set<number>()
  for (let power = 1; !members.has(power); power = (power * 65_537) % prime) members.add(power)
  return { prime: BigInt(prime), members }
})

/** Says what is wrong with a modulus, or gives undefined. */
export function rsaWeakness(modulus: bigint): string | undefined {
  if (modulus % 2n === 0n) return 'The RSA modulus is even'
  if (hasSmallFactor(modulus)) return 'The RSA modulus has a small factor'
  if (rocaSubgroups.every(({ prime, members }) => members.has(Number(modulus % prime)))) {
    return 'The RSA key has the ROCA weakness'
  }
  if (hasClosePrimes(modulus)) return 'The primes of the RSA modulus are too close'
  return undefined
}

function hasSmallFactor(modulus: bigint): boolean {
  // One long division; the rest happens on short numbers.
  const rest = modulus % primorial
  return smallPrimes.some((prime) => rest % BigInt(prime) === 0n)
}

function hasClosePrimes(modulus: bigint): boolean {
  let a = squareRoot(modulus)
  if (a * a < modulus) a += 1n
  for (let round = 0; round < fermatRounds; round += 1, a += 1n) {
    const difference = a * a - modulus
    if (!mayBeSquare(difference)) continue
    const b = squareRoot(difference)
    if (b * b === difference) return true
  }
  return false
}

const squareFilter = 64n * 63n * 65n * 11n
const squaresModulo = [64, 63, 65, 11].map((modulus) => ({
  modulus,
  squares: new Set(Array.from({ length: modulus }, (_, root) => (root * root) % modulus)),
}))

/** Rules out 99 of 100 non-squares without a long square root. */
function mayBeSquare(value: bigint): boolean {
  const rest = Number(value % squareFilter)
  return squaresModulo.every(({ modulus, squares }) => squares.has(rest % modulus))
}

/** Floor of the square root, by Newton's method from above. */
function squareRoot(value: bigint): bigint {
  if (value < 2n) return value
  const bits = value.toString(16).length * 4
  let root = 1n << BigInt(Math.ceil(bits / 2) + 1)
  for (;;) {
    const next = (root + value / root) >> 1n
    if (next >= root) return root
    root = next
  }
}

function primesBelow(limit: number): number[] {
  const primes: number[] = []
  for (let candidate = 2; candidate < limit; candidate += 1) {
    if (primes.every((prime) => candidate % prime !== 0)) primes.push(candidate)
  }
  return primes
}
