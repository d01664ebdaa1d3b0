/**
 * What two servers say to each other over the channel on which one has the leader take commands and confirm reads
 * (docs/wire-format.md, Forwarding). Pure. What comes from outside is total: malformed bytes are null, never an error.
 *
 * A message that is longer than a frame comes in parts, the last one under its own word.
 */

import { RaftError } from '../../errors.js'
import type { LeaderHint, RaftErrorCode } from '../../errors.js'
import { PAYLOAD_BYTES_MAX } from '../../format/block.js'
import { FRAME_HEAD_BYTES, isSealed, newFrame, sealFrame, wordOf } from '../../format/channel-frame.js'
import { readU64, viewOf, writeU64 } from '../../format/little-endian.js'
import { metaFlaw } from '../../format/server-meta.js'
import { SESSION_HEADER_BYTES } from '../../format/session.js'
import { CHANNEL_FRAME_BYTES_MAX } from '../../transport/channel.js'
import { isPosition, logIndex, termOf } from '../../types.js'
import type { LogIndex, ServerMeta, Term } from '../../types.js'
import type { CommandKind } from '../calls/apply-queue.js'

/** What is said at once is cut behind so many commands, or answers, and so many bytes of them. */
export const BATCH_COUNT_MAX = 1024
export const BATCH_BYTES_MAX = 256 * 1024
/** A batch, the one that goes beyond it, and what stands before them. */
const MESSAGE_BYTES_MAX = 2 * 1024 * 1024
const PART_BYTES = 512 * 1024
const ERROR_TEXT_MAX = 2048

export type ForwardMessage =
  /** Asker: to be applied, in this order; the first is called `firstId`, the next one by the next number. */
  | ForwardedCommands
  /** Leader: what became of commands, in the order in which they ended. */
  | { readonly type: 'answers'; readonly answers: readonly ForwardAnswer[] }
  /**
   * Asker: how far must a server be that reads now? `committed`: so much it knows to be committed, and a leader that
   * holds a lease, and has nothing more to tell it, may answer by that; null: a quorum is to be asked.
   */
  | { readonly type: 'read'; readonly id: number; readonly committed: LogIndex | null }
  /** Leader: so far; a quorum has confirmed, after the question had come, that it leads, or its lease says so. */
  | { readonly type: 'readAt'; readonly id: number; readonly index: LogIndex }
  | { readonly type: 'readFailed'; readonly id: number; readonly error: RaftError }

/** All of one kind. */
export interface ForwardedCommands {
  readonly type: 'commands'
  readonly kind: CommandKind
  readonly firstId: number
  readonly commands: readonly Uint8Array[]
}

/** Of one command: where it is in the log and its encoded result, or why it has none. */
export type ForwardAnswer = ForwardResult | { readonly id: number; readonly error: RaftError }

interface ForwardResult {
  readonly id: number
  readonly index: LogIndex
  readonly term: Term
  /** Null: nothing came of it but that it is in the log, as of what opens a session, and closes it. */
  readonly result: Uint8Array | null
}

const COMMANDS = 32
const ANSWERS = 33
const READ = 34
const READ_AT = 35
const READ_FAILED = 36
const PART = 37
const SESSION_COMMANDS = 38
const READ_BY_LEASE = 39

const COMMANDS_HEAD_BYTES = FRAME_HEAD_BYTES + 16
const ANSWERS_HEAD_BYTES = FRAME_HEAD_BYTES + 8
/** Of one answer: id, index, term, length, and what it has. */
const ANSWER_BYTES = 32
const HAS_RESULT = 0
const HAS_ERROR = 1
const HAS_NOTHING = 2
const NOTHING = new Uint8Array(0)

/** Whether a channel on which this comes first is one of these. */
export function isForward(frame: Uint8Array): boolean {
  if (frame.length < FRAME_HEAD_BYTES) return false
  const word = wordOf(frame)
  return word === COMMANDS || word === SESSION_COMMANDS || word === READ || word === PART || word === READ_BY_LEASE
}

/** Whether it is the question of a read that a leader may answer by its lease. */
export function asksByLease(frame: Uint8Array): boolean {
  return frame.length >= FRAME_HEAD_BYTES && wordOf(frame) === READ_BY_LEASE
}

/** The frames of a message, in their order. Hot path: once per turn. */
export function encodeForward(message: ForwardMessage): readonly Uint8Array[] {
  switch (message.type) {
    case 'commands':
      return framesOf(encodeCommands(message))
    case 'answers':
      return framesOf(encodeAnswers(message.answers))
    case 'read': {
      const { id, committed } = message
      const bytes = committed === null ? newFrame(READ, 8) : newFrame(READ_BY_LEASE, 16)
      writeU64(viewOf(bytes), FRAME_HEAD_BYTES, id)
      if (committed !== null) writeU64(viewOf(bytes), FRAME_HEAD_BYTES + 8, committed)
      return [sealFrame(bytes)]
    }
    case 'readAt': {
      const bytes = newFrame(READ_AT, 16)
      writeU64(viewOf(bytes), FRAME_HEAD_BYTES, message.id)
      writeU64(viewOf(bytes), FRAME_HEAD_BYTES + 8, message.index)
      return [sealFrame(bytes)]
    }
    case 'readFailed': {
      const error = encodeError(message.error)
      const bytes = newFrame(READ_FAILED, 8 + error.length)
      writeU64(viewOf(bytes), FRAME_HEAD_BYTES, message.id)
      bytes.set(error, FRAME_HEAD_BYTES + 8)
      return [sealFrame(bytes)]
    }
  }
}

/** Puts the parts of messages together again, whatever language `decode` reads. */
export class PartReader<Message> {
  readonly #decode: (word: number, body: Uint8Array) => Message | null
  #parts: Uint8Array[] = []
  #bytes = 0

  constructor(read: (word: number, body: Uint8Array) => Message | null) {
    this.#decode = read
  }

  /** Bytes of parts whose last one has not come. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * Null for what no server sends, and what was changed on its way; `more`: it is a part. Bytes in a message that came
   * whole are views of `frame`.
   */
  read(frame: Uint8Array): Message | 'more' | null {
    if (frame.length < FRAME_HEAD_BYTES || !isSealed(frame)) return null
    const word = wordOf(frame)
    if (word !== PART && this.#parts.length === 0) return this.#decode(word, frame.subarray(FRAME_HEAD_BYTES))
    this.#bytes += frame.length - FRAME_HEAD_BYTES
    if (this.#bytes > MESSAGE_BYTES_MAX) return null
    // No Buffer, whose `slice` is no copy.
    this.#parts.push(Uint8Array.prototype.slice.call(frame, FRAME_HEAD_BYTES))
    if (word === PART) return 'more'
    const body = join(this.#parts, this.#bytes)
    this.#parts = []
    this.#bytes = 0
    return this.#decode(word, body)
  }
}

export class ForwardReader extends PartReader<ForwardMessage> {
  constructor() {
    super(decodeForward)
  }
}

function join(parts: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

function encodeCommands({ kind, firstId, commands }: ForwardedCommands): Uint8Array {
  const table = commands.length * 4
  let length = COMMANDS_HEAD_BYTES - FRAME_HEAD_BYTES + table
  for (const command of commands) length += command.length
  const bytes = newFrame(kind === 'session' ? SESSION_COMMANDS : COMMANDS, length)
  const view = viewOf(bytes)
  writeU64(view, FRAME_HEAD_BYTES, firstId)
  view.setUint32(FRAME_HEAD_BYTES + 8, commands.length, true)
  let row = COMMANDS_HEAD_BYTES
  let at = COMMANDS_HEAD_BYTES + table
  for (const command of commands) {
    view.setUint32(row, command.length, true)
    bytes.set(command, at)
    row += 4
    at += command.length
  }
  return bytes
}

function encodeAnswers(answers: readonly ForwardAnswer[]): Uint8Array {
  const contents = answers.map((answer) => ('error' in answer ? encodeError(answer.error) : (answer.result ?? NOTHING)))
  let length = ANSWERS_HEAD_BYTES - FRAME_HEAD_BYTES + answers.length * ANSWER_BYTES
  for (const content of contents) length += content.length
  const bytes = newFrame(ANSWERS, length)
  const view = viewOf(bytes)
  view.setUint32(FRAME_HEAD_BYTES, answers.length, true)
  let row = ANSWERS_HEAD_BYTES
  let at = ANSWERS_HEAD_BYTES + answers.length * ANSWER_BYTES
  for (let position = 0; position < answers.length; position += 1) {
    const answer = answers[position] as ForwardAnswer
    const content = contents[position] as Uint8Array
    const isError = 'error' in answer
    writeU64(view, row, answer.id)
    writeU64(view, row + 8, isError ? 0 : answer.index)
    writeU64(view, row + 16, isError ? 0 : answer.term)
    view.setUint32(row + 24, content.length, true)
    view.setUint32(row + 28, isError ? HAS_ERROR : answer.result === null ? HAS_NOTHING : HAS_RESULT, true)
    bytes.set(content, at)
    row += ANSWER_BYTES
    at += content.length
  }
  return bytes
}

/** `whole` is complete but for its checksum. */
export function framesOf(whole: Uint8Array): readonly Uint8Array[] {
  const frames: Uint8Array[] = []
  let at = FRAME_HEAD_BYTES
  if (whole.length <= CHANNEL_FRAME_BYTES_MAX) return [sealFrame(whole)]
  while (whole.length - at > CHANNEL_FRAME_BYTES_MAX - FRAME_HEAD_BYTES) {
    frames.push(partOf(whole, PART, at, at + PART_BYTES))
    at += PART_BYTES
  }
  frames.push(partOf(whole, wordOf(whole), at, whole.length))
  return frames
}

function partOf(whole: Uint8Array, word: number, from: number, to: number): Uint8Array {
  const frame = newFrame(word, to - from)
  frame.set(whole.subarray(from, to), FRAME_HEAD_BYTES)
  return sealFrame(frame)
}

/** What stands in a frame of that word. Total. */
export function decodeForward(word: number, body: Uint8Array): ForwardMessage | null {
  const view = viewOf(body)
  if (word === COMMANDS) return decodeCommands('command', body, view)
  if (word === SESSION_COMMANDS) return decodeCommands('session', body, view)
  if (word === ANSWERS) return decodeAnswers(body, view)
  if (body.length < 8) return null
  const id = readU64(view, 0)
  if (!isPosition(id)) return null
  if (word === READ) return body.length === 8 ? { type: 'read', id, committed: null } : null
  if (word === READ_FAILED) return { type: 'readFailed', id, error: decodeError(body.subarray(8)) }
  const isKnown = word === READ_AT || word === READ_BY_LEASE
  const index = isKnown && body.length === 16 ? readU64(view, 8) : -1
  if (!isPosition(index)) return null
  if (word === READ_AT) return { type: 'readAt', id, index: logIndex(index) }
  return { type: 'read', id, committed: logIndex(index) }
}

function decodeCommands(kind: CommandKind, body: Uint8Array, view: DataView): ForwardMessage | null {
  if (body.length < 16) return null
  const firstId = readU64(view, 0)
  const count = view.getUint32(8, true)
  let at = 16 + count * 4
  if (count < 1 || count > BATCH_COUNT_MAX || at > body.length || !isPosition(firstId + count)) return null
  const commands: Uint8Array[] = []
  const bytesMin = kind === 'session' ? SESSION_HEADER_BYTES : 0
  for (let row = 16; row < 16 + count * 4; row += 4) {
    const length = view.getUint32(row, true)
    const end = at + length
    if (length < bytesMin || length > PAYLOAD_BYTES_MAX || end > body.length) return null
    commands.push(body.subarray(at, end))
    at = end
  }
  return at === body.length ? { type: 'commands', kind, firstId, commands } : null
}

function decodeAnswers(body: Uint8Array, view: DataView): ForwardMessage | null {
  if (body.length < 8) return null
  const count = view.getUint32(0, true)
  let at = 8 + count * ANSWER_BYTES
  if (count < 1 || count > BATCH_COUNT_MAX || at > body.length) return null
  const answers: ForwardAnswer[] = []
  for (let row = 8; row < 8 + count * ANSWER_BYTES; row += ANSWER_BYTES) {
    const [id, index, term] = [readU64(view, row), readU64(view, row + 8), readU64(view, row + 16)]
    const end = at + view.getUint32(row + 24, true)
    if (end > body.length || !isPosition(id) || !isPosition(index) || !isPosition(term)) return null
    const content = body.subarray(at, end)
    const has = view.getUint32(row + 28, true)
    if (has > HAS_NOTHING) return null
    if (has === HAS_ERROR) answers.push({ id, error: decodeError(content) })
    else {
      const result = has === HAS_NOTHING ? null : content
      answers.push({ id, index: logIndex(index), term: termOf(term), result })
    }
    at = end
  }
  return at === body.length ? { type: 'answers', answers } : null
}

function encodeError({ code, message, outcome, retryable, leader }: RaftError): Uint8Array {
  const text = message.slice(0, ERROR_TEXT_MAX)
  return new TextEncoder().encode(JSON.stringify({ code, message: text, outcome, retryable, leader }))
}

/** Total, and read without belief: where it does not say what became of the command, nobody knows. */
function decodeError(bytes: Uint8Array): RaftError {
  const said = objectOf(new TextDecoder().decode(bytes))
  const { code, message, outcome, retryable } = said
  const isCode = typeof code === 'string' && /^ERR_RAFT_[A-Z_]{1,40}$/.test(code)
  const isOutcome = outcome === 'not-applied' || outcome === 'applied'
  return new RaftError(
    isCode ? (code as RaftErrorCode) : 'ERR_RAFT_LEADERSHIP_LOST',
    typeof message === 'string' ? message : 'the leader says why not, and it makes no sense',
    { outcome: isOutcome ? outcome : 'unknown', retryable: retryable === true, leader: hintOf(said['leader']) },
  )
}

/** Total: null for what is no hint. */
export function hintOf(value: unknown): LeaderHint | null {
  if (typeof value !== 'object' || value === null) return null
  const { id, address, meta } = value as Readonly<Record<string, unknown>>
  if (typeof id !== 'string' || typeof address !== 'string') return null
  const hint = { id, address }
  return meta === undefined || metaFlaw(meta) !== null ? hint : { ...hint, meta: meta as ServerMeta }
}

/** Total: empty for what is no object. */
export function objectOf(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    // Whatever it throws is about these bytes.
    return {}
  }
}
