/** Labels and values: a map in RESP3; in RESP2 a list, which redis-cli shows line by line. */

import { textBytes, type Reply } from '../resp/reply.js'

/** What is not there is an empty string: a null of RESP2 says nothing to a person. */
export function table(rows: readonly (readonly [label: string, value: string | number | null])[]): Reply {
  return {
    type: 'map',
    pairs: rows.map(([label, value]) => [label, typeof value === 'number' ? value : textBytes(value ?? '')]),
  }
}
