/**
 * As much of Protocol Buffers (proto3) as the services of this package need: strings, numbers below 2^53, booleans,
 * messages, and lists of strings and messages. What a sender left out has its default, as proto3 says; fields that are
 * not known are skipped. A test compares it with the .proto files, as others read them.
 */

/** One field of a message, by its number in the .proto. */
export interface Field {
  readonly number: number
  readonly type: 'string' | 'uint64' | 'bool' | Fields
  readonly isList?: true
}

/** By the name of each field of a message. */
export type Fields = Readonly<Record<string, Field>>

/** Turns messages of one type into bytes and back. */
export interface Codec<Message> {
  encode(message: Message): Buffer
  /** Throws for bytes that are no such message. */
  decode(bytes: Uint8Array): Message
}

/** Invariant: each field of `Message` is of the type that its `Field` says; a message that may be missing is a list. */
export function codecOf<Message extends object>(fields: Readonly<Record<keyof Message, Field>>): Codec<Message> {
  const known = fields as Fields
  return {
    encode: (message) => Buffer.concat(piecesOf(known, message as Readonly<Record<string, unknown>>)),
    decode: (bytes) => decodeMessage(known, bytes, DEPTH_MAX) as Message,
  }
}

/** Of messages in messages: deeper than any that is known here. */
const DEPTH_MAX = 8

const WIRE_VARINT = 0
const WIRE_FIXED64 = 1
const WIRE_BYTES = 2
const WIRE_FIXED32 = 5

function piecesOf(fields: Fields, message: Readonly<Record<string, unknown>>): readonly Uint8Array[] {
  return Object.entries(fields).flatMap(([name, field]) => {
    const value = message[name]
    const values = field.isList === true ? (value as readonly unknown[]) : isDefault(value) ? [] : [value]
    return values.flatMap((each) => fieldPieces(field, each))
  })
}

const isDefault = (value: unknown): boolean => value === '' || value === 0 || value === false

function fieldPieces({ number, type }: Field, value: unknown): readonly Uint8Array[] {
  if (type === 'uint64' || type === 'bool') return [varint(number * 8 + WIRE_VARINT), varint(Number(value))]
  const bytes =
    type === 'string'
      ? Buffer.from(value as string)
      : Buffer.concat(piecesOf(type, value as Readonly<Record<string, unknown>>))
  return [varint(number * 8 + WIRE_BYTES), varint(bytes.length), bytes]
}

function varint(value: number): Uint8Array {
  const bytes: number[] = []
  let rest = value
  for (; rest > 0x7f; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80)
  bytes.push(rest)
  return Uint8Array.from(bytes)
}

function decodeMessage(fields: Fields, bytes: Uint8Array, depthMax: number): Record<string, unknown> {
  if (depthMax === 0) throw new Error('messages in messages are too deep')
  const message: Record<string, unknown> = {}
  for (const [name, field] of Object.entries(fields)) message[name] = defaultOf(field)
  const reader = new Reader(bytes)
  while (!reader.isAtEnd) {
    const tag = reader.varint()
    const number = Math.floor(tag / 8)
    const wire = tag % 8
    const [name, field] = Object.entries(fields).find(([, each]) => each.number === number) ?? []
    if (name === undefined || field === undefined || wireOf(field) !== wire) reader.skip(wire)
    else if (field.isList === true) (message[name] as unknown[]).push(reader.value(field, depthMax))
    else message[name] = reader.value(field, depthMax)
  }
  return message
}

const wireOf = ({ type }: Field): number => (type === 'uint64' || type === 'bool' ? WIRE_VARINT : WIRE_BYTES)

function defaultOf({ type, isList }: Field): unknown {
  if (isList === true) return []
  if (type === 'string') return ''
  return type === 'uint64' ? 0 : false
}

class Reader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length
  }

  value({ type }: Field, depthMax: number): unknown {
    if (type === 'uint64') return this.varint()
    if (type === 'bool') return this.varint() !== 0
    const bytes = this.#take(this.varint())
    return type === 'string' ? utf8.decode(bytes) : decodeMessage(type, bytes, depthMax - 1)
  }

  varint(): number {
    let value = 0
    for (let scale = 1; ; scale *= 0x80) {
      const [byte = 0] = this.#take(1)
      value += (byte & 0x7f) * scale
      if (value > Number.MAX_SAFE_INTEGER) throw new Error('a number over 2^53 - 1')
      if (byte <= 0x7f) return value
    }
  }

  skip(wire: number): void {
    switch (wire) {
      case WIRE_VARINT:
        // Of any size: it is not looked at.
        while ((this.#take(1)[0] ?? 0) > 0x7f);
        return
      case WIRE_FIXED64:
        this.#take(8)
        return
      case WIRE_BYTES:
        this.#take(this.varint())
        return
      case WIRE_FIXED32:
        this.#take(4)
        return
      default:
        throw new Error(`wire type ${wire} is not known`)
    }
  }

  #take(count: number): Uint8Array {
    const end = this.#at + count
    if (end > this.#bytes.length) throw new Error(`${end - this.#bytes.length} bytes are missing`)
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true })
