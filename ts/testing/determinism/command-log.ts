/**
 * A stretch of a log around a user's commands, and ways to cut it into batches, both drawn from a seed. As in a real
 * log, there are entries between the commands that never reach the state machine, terms grow, and times stand still or
 * go forward, by milliseconds or, when nobody asked for anything, by days.
 */

import { RaftError } from '../../errors.js'
import type { ApplyContext, Codec, Entry } from '../../machine/state-machine.js'
import { bytesOf } from '../../format/payload.js'
import { GuardedCodec } from '../../machine/user-code.js'
import { logIndex, termOf } from '../../types.js'
import type { LogIndex } from '../../types.js'

/** Draws a whole number in 0 .. bound - 1. */
export type Draw = (bound: number) => number

/** What is so of an entry. */
export type OfEntry = (index: LogIndex) => boolean

/** What `apply` is called with. */
export interface Batch<Command> {
  readonly entries: readonly Entry<Command>[]
  readonly context: ApplyContext
}

/** Half open: positions in the list of commands. */
export interface Cut {
  readonly lo: number
  readonly hi: number
}

export const SEED_MAX = 2 ** 32 - 1
/** Each is applied several times, one by one. */
const COMMANDS_MAX = 100_000

/** The longest pause is 2^20 seconds, twelve days. */
const PAUSE_ORDERS = 21

/** 2025-10-09, in milliseconds since 1970. */
const FIRST_TIME = 1_760_000_000_000

interface Place {
  readonly index: LogIndex
  readonly term: number
  readonly time: number
  /** Up to where a batch that ends here may reach: entries follow that are not commands. */
  readonly reach: LogIndex
}

/** mulberry32: small, and the same on every machine. */
export function drawFrom(seed: number): Draw {
  let state = seed
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound)
  }
}

export class CommandLog<Command> {
  readonly #copies: () => readonly Command[]
  readonly #places: readonly Place[]

  constructor(commands: readonly Command[], codec: Codec<Command> | undefined, seed: number) {
    const { length } = commands
    if (length < 1 || length > COMMANDS_MAX) {
      throw new RaftError('ERR_RAFT_OPTIONS', `there are ${length} commands: it must be 1 .. ${COMMANDS_MAX}`)
    }
    this.#copies = codec === undefined ? clones(commands) : decodings(commands, codec)
    this.#places = drawPlaces(length, drawFrom(seed))
  }

  get length(): number {
    return this.#places.length
  }

  /** The log for one machine, with commands of its own: a server decodes them for itself, and may change them. */
  forOneMachine(isAwaited: OfEntry, isReplay: OfEntry): (cut: Cut, reaches: boolean) => Batch<Command> {
    const commands = this.#copies()
    const entries = this.#places.map(({ index, term, time }, at) => {
      return { index, term: termOf(term), time, command: commands[at] as Command }
    })
    return ({ lo, hi }, reaches) => {
      const last = this.#places[hi - 1]
      const appliedIndex = (reaches ? last?.reach : last?.index) ?? logIndex(0)
      const replaying = last !== undefined && isReplay(last.index)
      return { entries: entries.slice(lo, hi), context: { appliedIndex, isAwaited, replaying } }
    }
  }
}

/** The n-th way to cut: one by one, all at once, then as drawn, with small batches and large ones. */
export function cutsOf(length: number, n: number, draw: Draw): readonly Cut[] {
  if (n === 0) return Array.from({ length }, (_, at) => ({ lo: at, hi: at + 1 }))
  if (n === 1) return [{ lo: 0, hi: length }]
  const cuts: Cut[] = []
  const sizeMax = 1 + draw(Math.min(length, 2 ** (1 + draw(8))))
  for (let lo = 0; lo < length;) {
    const hi = Math.min(length, lo + 1 + draw(sizeMax))
    cuts.push({ lo, hi })
    lo = hi
  }
  return cuts
}

function drawPlaces(length: number, draw: Draw): readonly Place[] {
  const places: Place[] = []
  let index = 0
  let term = 1
  let time = FIRST_TIME
  let skipped = 1 + draw(3)
  for (let at = 0; at < length; at += 1) {
    index += skipped + 1
    time += draw(3) * draw(200) + drawPause(draw)
    skipped = draw(6) === 0 ? 1 + draw(3) : 0
    places.push({ index: logIndex(index), term, time, reach: logIndex(index + skipped) })
    if (skipped > 0) time += draw(500)
    // A new leader's first entry is a no-op.
    if (skipped > 0 && draw(2) === 0) term += 1 + draw(2)
  }
  return places
}

/**
 * Mostly none; otherwise of any order between a second and weeks, so that whatever lasts a certain time ends somewhere
 * in the log.
 */
function drawPause(draw: Draw): number {
  return draw(8) === 0 ? 1000 * 2 ** draw(PAUSE_ORDERS) : 0
}

function clones<Command>(commands: readonly Command[]): () => readonly Command[] {
  return () =>
    commands.map((command, at) => {
      try {
        return structuredClone(command)
      } catch (cause) {
        const message = `command ${at} cannot be copied by structuredClone: pass the codec that the server uses`
        throw new RaftError('ERR_RAFT_OPTIONS', message, { cause })
      }
    })
}

function decodings<Command>(commands: readonly Command[], codec: Codec<Command>): () => readonly Command[] {
  const guarded = new GuardedCodec(codec)
  const encoded = commands.map((command) => bytesOf(guarded.encode(command)))
  return () => encoded.map((bytes) => codec.decode(new Uint8Array(bytes)))
}
