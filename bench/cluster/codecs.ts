/** What measured servers and their clients turn commands and results into. */

import type { Codec } from 'balsa-raft'

export const bytes: Codec<Uint8Array> = { encode: (command) => command, decode: (command) => command }

export const numbers: Codec<number> = {
  encode: (result) => new Uint8Array(Float64Array.of(result).buffer),
  decode: (encoded) => new DataView(encoded.buffer, encoded.byteOffset).getFloat64(0, true),
}
