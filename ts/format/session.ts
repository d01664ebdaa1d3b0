/**
 * The session header of docs/storage-format.md: with it begins the payload of a command that is asked for in a session,
 * so that whoever applies it knows it again.
 */

import { readU64, writeU64 } from './little-endian.js'

export const SESSION_HEADER_BYTES = 24

export interface SessionHeader {
  /** The index of the entry that opened it; 0 in that entry. */
  readonly session: number
  /** Which command of the session it is, from 1 on; 0 in the entries that open and close it. */
  readonly sequence: number
  /**
   * Of a command: the lowest sequence whose answer the client still waits for, 1 .. sequence; what is below is not
   * needed any more. Of the entry that opens a session: how many milliseconds of entry time without an entry of it end
   * it.
   */
  readonly third: number
}

// Hot path: once per command of a session.
export function writeSessionHeader(view: DataView, at: number, session: number, sequence: number, third: number): void {
  writeU64(view, at, session)
  writeU64(view, at + 8, sequence)
  writeU64(view, at + 16, third)
}

/** Numbers over 2^53 - 1 come rounded: they are no session and no sequence that anybody has. */
export function readSessionHeader(view: DataView, at: number): SessionHeader {
  return { session: readU64(view, at), sequence: readU64(view, at + 8), third: readU64(view, at + 16) }
}
