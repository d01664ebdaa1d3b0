/** What measured servers and their clients turn commands and results into. */

import type { Codec } from 'balsa-raft'

export const bytes: Codec<Uint8Array> = { encode: (command) => command, decode: (command) => command }

const ONE = new Float64Array(1)
const BYTES_OF_ONE = new Uint8Array(ONE.buffer)

/** Costs as little as a codec may: it is not what is measured. */
export const numbers: Codec<number> = {
  encode: (result) => {
    const encoded = Buffer.allocUnsafe(BYTES_OF_ONE.length)
    encoded.writeDoubleLE(result)
    return encoded
  },
  decode: (encoded) => {
    BYTES_OF_ONE.set(encoded)
    return ONE[0] as number
  },
}
