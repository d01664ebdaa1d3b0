/** Commands as MessagePack: for whoever has no format of their own. */

import { Decoder } from './msgpack/decoder.js'
import { Encoder } from './msgpack/encoder.js'
import type { Codec } from './state-machine.js'

/**
 * Plain data in, an equal value out: plain objects and arrays, strings, numbers, booleans, null, undefined, bigint of
 * 64 bits, Date, Uint8Array (a Buffer comes back as one). Whatever would come back changed is refused with
 * ERR_RAFT_ENCODE, which names its place in the command and its kind: Map, Set, other typed arrays, instances of
 * classes, functions, lone surrogates, holes, circles and the like.
 */
export function msgpackCodec<Command>(): Codec<Command> {
  const encoder = new Encoder()
  const decoder = new Decoder()
  return {
    // A getter in a command may encode another one.
    encode: (command) => (encoder.isBusy ? new Encoder() : encoder).encode(command),
    decode: (bytes) => decoder.decode(bytes) as Command,
  }
}
