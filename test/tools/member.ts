/** The configuration entry of a cluster of s1, s2 ..., which may be changing from one of so many of these. */

import { entryBlock } from '#balsa/format/block.js'
import { encodeConfiguration } from '#balsa/format/configuration.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block } from '#balsa/types.js'

export function memberBlock(index: number, voters: number, outgoing = 0): Block {
  const servers = Array.from({ length: voters }, (_, n) => ({ id: `s${n + 1}`, address: `a:${n + 1}` }))
  const before = outgoing === 0 ? null : servers.slice(0, outgoing)
  const configuration = { voters: servers, outgoing: before, nonvoters: [] }
  const payload = encodeConfiguration({ clusterName: 'tools', configuration })
  return entryBlock('configuration', logIndex(index), termOf(1), 0, payload)
}
