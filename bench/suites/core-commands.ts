/** Micro benchmarks of what happens once per command: the request parser, the codecs, the applier, the replies. */

import { Applier } from '#balsa/machine/applier.js'
import { GuardedCodec, GuardedMachine, GuardedResultCodec } from '#balsa/machine/user-code.js'
import { BlockWriter, sealBlock } from '#balsa/format/block.js'
import { logIndex } from '#balsa/types.js'
import { msgpackCodec } from 'balsa-raft'
import type { Codec, StateMachine } from 'balsa-raft'
import { decodeEntry, encodeCommand } from 'balsa-kv/replication/entry-codec.js'
import { encodeReply } from 'balsa-kv/resp/reply-encoder.js'
import { ok } from 'balsa-kv/resp/reply.js'
import { RequestParser } from 'balsa-kv/resp/request-parser.js'
import { BULK_BYTES_MAX, COMMAND_BYTES_MAX, COMMAND_WORDS_MAX, INLINE_BYTES_MAX } from 'balsa-kv/limits.js'
import { packBlocks } from '../stores/native.js'

/** Commands of one timed call: what a socket delivers at once, or one batch. */
export const COMMANDS = 64
const RESP2 = 2
const RESP3 = 3

export interface CommandCase {
  readonly contender: string
  readonly operation: string
  /** Does it `COMMANDS` times. */
  readonly run: () => void
}

export function commandCases(bytes: number): readonly CommandCase[] {
  const value = 'b'.repeat(bytes)
  const words = ['set', 'key:000000000042', value]
  const record = { type: 'set', key: 'key:000000000042', value }
  const messagePack = msgpackCodec<typeof record>()
  const packed = messagePack.encode(record)
  const entry = encodeCommand(words)
  const times = (operation: () => void) => (): void => {
    for (let left = COMMANDS; left > 0; left -= 1) operation()
  }
  const kv = 'balsa-kv'
  const msgpack = 'msgpackCodec'
  return [
    { contender: kv, operation: 'parse a pipelined SET', run: parsing(words) },
    { contender: kv, operation: 'reply OK', run: times(() => void encodeReply(ok, RESP2)) },
    { contender: kv, operation: 'reply with the value, RESP2', run: times(() => void encodeReply(value, RESP2)) },
    { contender: kv, operation: 'reply with the value, RESP3', run: times(() => void encodeReply(value, RESP3)) },
    { contender: kv, operation: 'encode an entry', run: times(() => void encodeCommand(words)) },
    { contender: msgpack, operation: 'encode an entry', run: times(() => void messagePack.encode(record)) },
    { contender: kv, operation: 'decode an entry', run: times(() => void decodeEntry(entry)) },
    { contender: msgpack, operation: 'decode an entry', run: times(() => void messagePack.decode(packed)) },
    { contender: 'bytes', operation: 'apply an entry', run: applying(asItIs, packed) },
    { contender: msgpack, operation: 'apply an entry', run: applying(messagePack, packed) },
  ]
}

const asItIs: Codec<Uint8Array> = { encode: (command) => command, decode: (bytes) => bytes }

/** Replies are strings whose bytes are copied when the socket takes them; parsing is all of it. */
function parsing(words: readonly string[]): () => void {
  const limits = {
    ...{ bulkBytes: BULK_BYTES_MAX, inlineBytes: INLINE_BYTES_MAX },
    ...{ arguments: COMMAND_WORDS_MAX, commandBytes: COMMAND_BYTES_MAX },
  }
  const request = `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`
  const chunk = Buffer.from(request.repeat(COMMANDS), 'latin1')
  const parser = new RequestParser(limits)
  return () => {
    parser.push(chunk)
    let commands = 0
    while (parser.next() !== null) commands += 1
    if (commands !== COMMANDS) throw new Error(`${commands} of ${COMMANDS} commands were parsed`)
  }
}

/** A whole batch as the shell hands it on, to a state machine that does nothing. */
function applying<Command>(codec: Codec<Command>, payload: Uint8Array): () => void {
  const answers = new Array<number>(COMMANDS).fill(0)
  const machine: StateMachine<Command, number> = { apply: () => answers }
  const configuration = { voters: [], outgoing: null, nonvoters: [] }
  const applier = new Applier<Command>(
    new GuardedMachine(machine),
    new GuardedCodec(codec),
    new GuardedResultCodec(msgpackCodec<unknown>()),
    { machineIndex: logIndex(0), sessions: [] },
    { tagAt: () => 0, isReplay: () => false, readConfiguration: () => configuration },
  )
  const blocks = packBlocks(new BlockWriter(), 1, COMMANDS, payload, sealBlock)
  return () => void applier.apply(logIndex(1), logIndex(COMMANDS), blocks)
}
