/**
 * An answer, before it is known in which version of the protocol it is written.
 *
 * A string is a bulk string, a number or bigint an integer, null the null of that version, an array an array. Strings
 * hold bytes: one character each, 0 to 255 ("latin1"), as everywhere in this server; that keeps keys and values exact
 * and cheap to compare and to join.
 */

export type Reply =
  | string
  | number
  | bigint
  | null
  | readonly Reply[]
  | { readonly type: 'status'; readonly text: string }
  | ErrorReply
  /** What EXEC says of a transaction that lost its race: in RESP2 a null of its own. */
  | { readonly type: 'nullArray' }
  | { readonly type: 'map'; readonly pairs: readonly (readonly [Reply, Reply])[] }
  | { readonly type: 'set'; readonly members: readonly Reply[] }
  /** An answer that was long in the making: bytes, in both versions the same, which are written piece by piece. */
  | EncodedReply
  /** Text for a person to read. */
  | { readonly type: 'verbatim'; readonly text: string }

export interface EncodedReply {
  readonly type: 'encoded'
  readonly chunks: readonly string[]
}

/** What a command is refused with. */
export interface ErrorReply {
  readonly type: 'error'
  readonly text: string
}

export const ok: Reply = { type: 'status', text: 'OK' }
export const queued: Reply = { type: 'status', text: 'QUEUED' }
export const nullArray: Reply = { type: 'nullArray' }

export const status = (text: string): Reply => ({ type: 'status', text })

/** `text` begins with the word that clients look at: ERR, MOVED, ... */
export const failure = (text: string): ErrorReply => ({ type: 'error', text })

export const isError = (reply: Reply): reply is ErrorReply =>
  typeof reply === 'object' && reply !== null && 'type' in reply && reply.type === 'error'

export const syntaxError = failure('ERR syntax error')
export const notAnInteger = failure('ERR value is not an integer or out of range')

export const wrongArity = (command: string): ErrorReply =>
  failure(`ERR wrong number of arguments for '${command}' command`)

/** Text of this server, such as a path or a name, as the string of bytes that it is on the wire. */
export const textBytes = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')

/** A client's own words in an error text: as much as Redis repeats, whose strings end at a NUL. */
export function quote(word: string, most = 128): string {
  const end = word.indexOf('\0')
  return word.slice(0, end === -1 ? most : Math.min(end, most))
}
