/** A user's codec for what travels between a client and the server that it asks: queries, and what is answered. */

import { RaftError } from '../errors.js'
import { PAYLOAD_BYTES_MAX } from '../format/block.js'
import { isBytes, isDetached, isThenable, kindOf, onRejection, textOf } from '../foreign-values.js'
import type { Codec } from './state-machine.js'

export class GuardedQueryCodec<Value> {
  readonly #name: 'queryCodec' | 'answerCodec'
  readonly #codec: Codec<Value>

  /** `name`: which option it is. */
  constructor(name: 'queryCodec' | 'answerCodec', codec: Codec<Value>) {
    this.#name = name
    this.#codec = codec
  }

  /** A copy of what the codec answers with. Throws ERR_RAFT_ENCODE or ERR_RAFT_TOO_LARGE. */
  // Hot path: once per query.
  encode(value: Value): Uint8Array {
    let answer: unknown
    try {
      answer = this.#codec.encode(value)
    } catch (cause) {
      throw this.#failed(`encode threw: ${textOf(cause)}`, cause)
    }
    if (!isBytes(answer)) {
      onRejection(answer, ignore)
      throw this.#failed(`encode answered with ${kindOf(answer)}, not with a Uint8Array`)
    }
    const { length } = answer
    if (length > PAYLOAD_BYTES_MAX) {
      const what = this.#name === 'queryCodec' ? 'the query' : 'the answer'
      const message = `${what} has ${length} bytes, at most ${PAYLOAD_BYTES_MAX} travel: ask for less at a time`
      throw new RaftError('ERR_RAFT_TOO_LARGE', message)
    }
    if (length === 0 && isDetached(answer)) {
      throw this.#failed('encode answered with a Uint8Array whose memory is detached')
    }
    return Uint8Array.prototype.slice.call(answer)
  }

  /** `bytes` may be written to. Throws ERR_RAFT_ENCODE. */
  // Hot path: once per query.
  decode(bytes: Uint8Array): Value {
    let value: Value
    try {
      value = this.#codec.decode(bytes)
      if (!isThenable(value)) return value
    } catch (cause) {
      throw this.#failed(`decode threw: ${textOf(cause)}`, cause)
    }
    onRejection(value, ignore)
    throw this.#failed('decode answered with a promise')
  }

  #failed(what: string, cause?: unknown): RaftError {
    const message = `${this.#name}'s ${what}; give servers and clients the same codec, and one that takes such values`
    return new RaftError('ERR_RAFT_ENCODE', message, { cause })
  }
}

function ignore(): void {}
