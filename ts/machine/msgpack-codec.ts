/** Commands as MessagePack: for whoever has no format of their own. */

import { Packr } from 'msgpackr/pack'
import type { Codec } from './state-machine.js'

/** Plain data in, an equal value out: objects, arrays, strings, numbers, booleans, null, bigint, Date, Uint8Array. */
export function msgpackCodec<Command>(): Codec<Command> {
  // Records and shared structures off: every entry must be readable by itself, for ever.
  const packr = new Packr({ useRecords: false })
  return {
    encode: (command) => packr.encode(command),
    decode: (bytes) => packr.decode(bytes) as Command,
  }
}
