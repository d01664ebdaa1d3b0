/**
 * The trace of a stage, from when its servers have booted: to be called when it has been made and before anything else
 * is done with it.
 */

import { entriesOf, NOTHING } from '#balsa/testing/stage/blocks.js'
import type { Stage } from '#balsa/testing/stage/stage.js'
import type { TraceEvent } from '../trace-format.js'
import { INTERNAL } from './convert.js'
import type { HashesOf } from './convert.js'
import { ServerRecorder } from './servers.js'

export function recordStage(stage: Stage, tell: (event: TraceEvent) => void): void {
  const { voters, outgoing } = stage.configuration
  const ids = { voters: voters.map(({ id }) => id), outgoing: outgoing?.map(({ id }) => id) ?? null }
  const recorder = new ServerRecorder(ids, hashesOf, tell)
  for (const server of stage.servers.values()) recorder.booted(server)
  stage.watch(recorder)
}

const hashesOf: HashesOf = (block) => {
  return entriesOf(block).map(({ payload }) => (payload === NOTHING ? INTERNAL : String(payload)))
}
