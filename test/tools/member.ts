/** The configuration entry of a cluster of s1, s2 ... */

import { entryBlock } from '#balsa/format/block.js'
import { encodeConfiguration } from '#balsa/format/configuration.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block } from '#balsa/types.js'

export function memberBlock(index: number, voters: number): Block {
  const servers = Array.from({ length: voters }, (_, n) => ({ id: `s${n + 1}`, address: `a:${n + 1}` }))
  const configuration = { voters: servers, outgoing: null, nonvoters: [] }
  const payload = encodeConfiguration({ clusterName: 'tools', configuration })
  return entryBlock('configuration', logIndex(index), termOf(1), 0, payload)
}
