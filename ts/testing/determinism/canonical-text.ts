/**
 * Values as text, so that two of them can be compared, kept and hashed however they were made. Equal values give equal
 * texts; the order of an object's keys, of a Map's and of a Set's elements does not count, that of an array's does.
 */

import { createHash } from 'node:crypto'
import { types } from 'node:util'

const SHORT_CHARACTERS = 96
const HASH_DIGITS = 16

/**
 * What is visible of the value from outside: not private fields, closures, getters of prototypes or the stack of an
 * error.
 */
export function canonicalText(value: unknown): string {
  return write(value, [])
}

/** The same in at most some 100 characters, for messages. */
export function shortText(value: unknown): string {
  const text = canonicalText(value)
  if (text.length <= SHORT_CHARACTERS) return text
  return `${text.slice(0, SHORT_CHARACTERS)}... (${text.length} characters, ${hashOf(text)})`
}

/** Tells two states apart in a message: a short text stands for itself, a longer one for its SHA-256. */
export function hashOf(text: string): string {
  if (text.length <= HASH_DIGITS) return text
  return createHash('sha256').update(text).digest('hex').slice(0, HASH_DIGITS)
}

function write(value: unknown, path: readonly object[]): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value)
    case 'number':
      return Object.is(value, -0) ? '-0' : String(value)
    case 'bigint':
      return `${value}n`
    case 'function':
      return `function ${value.name}`
    case 'object':
      return value === null ? 'null' : writeObject(value, path)
    case 'boolean':
    case 'undefined':
    case 'symbol':
      return String(value)
  }
}

function writeObject(value: object, path: readonly object[]): string {
  const ancestor = path.indexOf(value)
  // A cycle: how far up it closes.
  if (ancestor >= 0) return `^${path.length - ancestor}`
  const inner = (part: unknown): string => write(part, [...path, value])
  if (Array.isArray(value)) return `[${Array.from(value, inner).join(',')}]`
  if (ArrayBuffer.isView(value)) {
    return `${tagOf(value)}(${hexOf(value.buffer, value.byteOffset, value.byteLength)})`
  }
  if (types.isAnyArrayBuffer(value)) return `${tagOf(value)}(${hexOf(value, 0, value.byteLength)})`
  if (types.isDate(value)) return `time(${value.getTime()})`
  if (types.isRegExp(value)) return String(value)
  if (types.isMap(value)) {
    const pairs = Array.from(value, ([key, held]) => `${inner(key)}=>${inner(held)}`)
    return `Map{${pairs.sort().join(',')}}`
  }
  if (types.isSet(value)) return `Set{${Array.from(value, inner).sort().join(',')}}`
  const about = types.isNativeError(value) ? `(${inner(value.name)},${inner(value.message)})` : ''
  const fields = Object.entries(value).map(([key, held]) => `${JSON.stringify(key)}:${inner(held)}`)
  return `${nameOf(value)}${about}{${fields.sort().join(',')}}`
}

/** As the language has it: a Buffer is a Uint8Array. */
function tagOf(value: object): string {
  return Object.prototype.toString.call(value).slice('[object '.length, -1)
}

/** The class; empty for plain objects, with or without a prototype. */
function nameOf(value: object): string {
  const { constructor } = value
  return typeof constructor !== 'function' || constructor === Object ? '' : constructor.name
}

function hexOf(buffer: ArrayBufferLike, offset: number, length: number): string {
  return Buffer.from(buffer, offset, length).toString('hex')
}
