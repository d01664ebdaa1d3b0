/**
 * What stands between the fixed fields of a message and the checksum of its head: fields that a later version has
 * added, each with a tag and its length. A version that does not know a tag skips the field, unless the tag says that
 * it must not.
 *
 *   u16 tag (bit 15: required)   u16 length   value
 *
 * Tags rise, so a field is there once at most. A tag has a meaning of its own in each type of message, for ever.
 */

import { writeU64 } from '../../format/little-endian.js'

/** The bit of a tag which says that whoever does not know the field must refuse the message. */
export const REQUIRED_TAG = 0x8000

const FIELD_HEADER_BYTES = 4
const U64_BYTES = 8

/** The lengths of the fields that a message knows, by tag; undefined where there is none. */
export type KnownFields = readonly (number | undefined)[]

export const NO_FIELDS: KnownFields = []

/** Invariant: `value` is a position. Returns where the field ends. */
export function writeU64Field(view: DataView, at: number, tag: number, value: number): number {
  view.setUint16(at, tag, true)
  view.setUint16(at + 2, U64_BYTES, true)
  writeU64(view, at + FIELD_HEADER_BYTES, value)
  return at + FIELD_HEADER_BYTES + U64_BYTES
}

/** A field that says something by being there. Returns where it ends. */
export function writeMark(view: DataView, at: number, tag: number): number {
  view.setUint16(at, tag, true)
  view.setUint16(at + 2, 0, true)
  return at + FIELD_HEADER_BYTES
}

/** What is wrong with the optional fields in [start, end), or null. Total. */
export function optionalFieldsFlaw(view: DataView, start: number, end: number, known: KnownFields): string | null {
  let before = 0
  for (let at = start; at < end;) {
    if (end - at < FIELD_HEADER_BYTES) return `${end - at} bytes are left behind its fields`
    const tag = view.getUint16(at, true) & ~REQUIRED_TAG
    const length = view.getUint16(at + 2, true)
    if (tag <= before) return `field ${tag} follows field ${before}`
    if (length > end - at - FIELD_HEADER_BYTES) return `field ${tag} of ${length} bytes passes the end of its head`
    const expected = known[tag]
    if (expected === undefined && (view.getUint16(at, true) & REQUIRED_TAG) !== 0) {
      return `field ${tag} must be understood, and is not known here: the peer is of a later version, upgrade this server`
    }
    if (expected !== undefined && expected !== length) return `field ${tag} has ${length} bytes, not ${expected}`
    before = tag
    at += FIELD_HEADER_BYTES + length
  }
  return null
}

/** Where the value of a field begins, or -1 when it is not there. Invariant: the fields have no flaw. */
export function findField(view: DataView, start: number, end: number, tag: number): number {
  for (let at = start; at < end; at += FIELD_HEADER_BYTES + view.getUint16(at + 2, true)) {
    if ((view.getUint16(at, true) & ~REQUIRED_TAG) === tag) return at + FIELD_HEADER_BYTES
  }
  return -1
}
