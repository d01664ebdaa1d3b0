/** Integers as Redis reads them: 64 bits, one spelling each. Numbers where they are exact, BigInt only beyond. */

export type Integer = number | bigint

const INTEGER_MIN = -(2n ** 63n)
const INTEGER_MAX = 2n ** 63n - 1n

/** Null: not an integer in its only spelling (no plus, no leading zero, no white space), or outside 64 bits. */
export function parseInteger(text: string): Integer | null {
  if (text.length > 20 || !/^(0|-?[1-9][0-9]*)$/.test(text)) return null
  if (text.length <= 15) return Number(text)
  const value = BigInt(text)
  return value < INTEGER_MIN || value > INTEGER_MAX ? null : narrow(value)
}

/** Null: the sum does not fit into 64 bits. */
export function addIntegers(left: Integer, right: Integer): Integer | null {
  if (typeof left === 'number' && typeof right === 'number') {
    const sum = left + right
    if (Number.isSafeInteger(sum)) return sum
  }
  const sum = BigInt(left) + BigInt(right)
  return sum < INTEGER_MIN || sum > INTEGER_MAX ? null : narrow(sum)
}

/** Null: the smallest integer has no opposite. */
export function negateInteger(value: Integer): Integer | null {
  if (typeof value === 'number') return value === 0 ? 0 : -value
  return value === INTEGER_MIN ? null : narrow(-value)
}

function narrow(value: bigint): Integer {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}
