/**
 * A sealed, intact block whose configuration has a form of a later version: what an older server may find on its disk.
 */

import { entryBlock, sealBlock } from '#balsa/format/block.js'
import { encodeConfiguration } from '#balsa/format/configuration.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block } from '#balsa/types.js'

/** Where the format version stands: behind the headers of block and record, and that of the array. */
const VERSION_AT = 24 + 32 + 1

export function laterConfiguration(index: number, term: number): Block {
  const configuration = { voters: [{ id: 'a', address: 'a:1' }], outgoing: null, nonvoters: [] }
  const payload = encodeConfiguration({ clusterName: 'c', configuration })
  const block = entryBlock('configuration', logIndex(index), termOf(term), 0, payload)
  block.data[VERSION_AT] = 9
  sealBlock(block.data, 0)
  return block
}
