/**
 * Whether commands that others have encoded may be appended: whoever did may be of another version, and a client may be
 * anybody. What cannot be decoded would halt every server once it is applied.
 *
 * Invariants: the commands of one customer are judged in the order in which they came. What waits for a codec of
 * another thread is bounded in bytes; in number its customer bounds it.
 */

import { SEQUENCE_MAX, SESSION_EXPIRES_MS_MAX, SESSION_EXPIRES_MS_MIN } from '../../call-options.js'
import { RaftError } from '../../errors.js'
import { viewOf } from '../../format/little-endian.js'
import { readSessionHeader, SESSION_HEADER_BYTES } from '../../format/session.js'
import type { GuardedCodec, Refusals } from '../../machine/user-code.js'
import { isPosition } from '../../types.js'
import type { CommandKind } from '../calls/apply-queue.js'
import { overloaded } from '../refusals.js'
import type { Mailbox } from '../turn/mailbox.js'
import type { ForwardedCommands } from './messages.js'

/** Commands that wait for a codec of another thread, in bytes; above that they are refused. */
export const JUDGED_BYTES_MAX = 16 * 1024 * 1024

/** Why commands are not taken. */
export type Judge = (kind: CommandKind, commands: readonly Uint8Array[]) => Refusals | Promise<Refusals>

/** Whose commands they are. */
export interface Judged {
  readonly judge: Judge
  /** Commands of it without an answer; those that are judged are counted here. */
  commandsDue: number
  /** Resolves when those before are judged; null while none is. */
  judging: Promise<void> | null
  failed(id: number, error: RaftError): void
}

export class Judging {
  readonly #mailbox: Mailbox
  readonly #isLater: boolean
  #bytes = 0

  /** `codec` may be one of another thread, which says later what it thinks. */
  constructor(codec: GuardedCodec<unknown>, mailbox: Mailbox) {
    this.#isLater = codec.isElsewhere
    this.#mailbox = mailbox
  }

  /** `take` is called with what was found, at once where it is known at once. */
  // Hot path: once per message.
  judge(
    customer: Judged,
    message: ForwardedCommands,
    take: (message: ForwardedCommands, refusals: Refusals) => void,
  ): void {
    if (this.#isLater) return this.#judgeLater(customer, message, take)
    const refusals = customer.judge(message.kind, message.commands)
    if (!(refusals instanceof Promise)) take(message, refusals)
  }

  #judgeLater(
    customer: Judged,
    message: ForwardedCommands,
    take: (message: ForwardedCommands, refusals: Refusals) => void,
  ): void {
    const { kind, firstId, commands } = message
    let bytes = 0
    for (const { length } of commands) bytes += length
    if (this.#bytes + bytes > JUDGED_BYTES_MAX) return refuseAll(customer, message, tooMuch(this.#bytes))
    // What they were read from is used again.
    const copies = commands.map((command) => Uint8Array.prototype.slice.call(command))
    const found = customer.judge(kind, copies)
    if (customer.judging === null && !(found instanceof Promise)) return take(message, found)
    this.#bytes += bytes
    customer.commandsDue += copies.length
    const judging: Promise<void> = (customer.judging ?? Promise.resolve())
      .then(() => found)
      .then((refusals) => {
        this.#bytes -= bytes
        customer.commandsDue -= copies.length
        if (customer.judging === judging) customer.judging = null
        take({ ...message, firstId, commands: copies }, refusals)
        this.#mailbox.schedule()
      })
    customer.judging = judging
  }
}

/** All of a message, for one reason. */
export function refuseAll(customer: Judged, { firstId, commands }: ForwardedCommands, refusal: RaftError): void {
  for (let at = 0; at < commands.length; at += 1) customer.failed(firstId + at, refusal)
}

/** Of peers: what a state machine has a say in. */
export function judgeOfPeers(codec: GuardedCodec<unknown>): Judge {
  return (kind, commands) => {
    if (!codec.validates) return null
    return kind === 'command' ? codec.refusalsOf(commands) : ofSessions(codec, commands, () => null)
  }
}

/** Of clients: everything, and no snapshot could hold some of the numbers that a header of a session has room for. */
export function judgeOfClients(codec: GuardedCodec<unknown>): Judge {
  return (kind, commands) => {
    return kind === 'command' ? codec.refusalsOf(commands) : ofSessions(codec, commands, headerFlaw)
  }
}

/** What opens a session, and what closes it, has no command. */
function ofSessions(
  codec: GuardedCodec<unknown>,
  commands: readonly Uint8Array[],
  flawOf: (command: Uint8Array) => RaftError | null,
): Refusals | Promise<Refusals> {
  const flaws = commands.map(flawOf)
  const places: number[] = []
  const bodies: Uint8Array[] = []
  for (const [at, command] of commands.entries()) {
    const { session, sequence } = readSessionHeader(viewOf(command), 0)
    if (flaws[at] !== null || session === 0 || sequence === 0) continue
    places.push(at)
    bodies.push(command.subarray(SESSION_HEADER_BYTES))
  }
  const place = (refusals: Refusals): Refusals => {
    for (const [at, refusal] of (refusals ?? []).entries()) flaws[places[at] as number] = refusal
    return flaws
  }
  if (bodies.length === 0) return flaws
  const refusals = codec.refusalsOf(bodies)
  return refusals instanceof Promise ? refusals.then(place) : place(refusals)
}

function headerFlaw(command: Uint8Array): RaftError | null {
  const { session, sequence, third } = readSessionHeader(viewOf(command), 0)
  if (session === 0) return sequence === 0 && isExpiry(third) ? null : noHeader()
  return [session, sequence, third].every((number) => isPosition(number, SEQUENCE_MAX)) ? null : noHeader()
}

function isExpiry(milliseconds: number): boolean {
  return milliseconds >= SESSION_EXPIRES_MS_MIN && milliseconds <= SESSION_EXPIRES_MS_MAX
}

function noHeader(): RaftError {
  return new RaftError('ERR_RAFT_INVALID', 'the header of a command of a session makes no sense; nothing was appended')
}

function tooMuch(bytes: number): RaftError {
  return overloaded(`${bytes} bytes of commands wait for the thread of the codec, and the bound is ${JUDGED_BYTES_MAX}`)
}
