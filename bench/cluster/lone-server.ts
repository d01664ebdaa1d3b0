/**
 * One server alone, as a process: fills its log, or only starts, and tells when it serves. A state machine that only
 * counts, so that what a start costs is the library's share of it.
 */

import { Raft } from 'balsa-raft'
import type { Codec, StateMachine } from 'balsa-raft'
import { systemClock } from '#balsa/clock.js'
import { MemoryNetwork } from 'balsa-raft/transport/memory'

/** Callers at a time while the log is filled. */
const IN_FLIGHT = 4096
const COMMAND_BYTES = 16

/** What the parent asks for, in the one argument behind the folder. */
export type LoneTask = { readonly fill: number } | { readonly snapshot: true } | { readonly serve: true }

/** Milliseconds since the process began. */
export interface LoneAnswer {
  readonly readyMs: number
  readonly applied: number
  readonly rssBytes: number
}

const [dir = '', task = ''] = process.argv.slice(2)

let count = 0
const counter: StateMachine<Uint8Array, number> = {
  apply: (batch) => batch.map(() => (count += 1)),
  snapshot: () => [new TextEncoder().encode(String(count))],
  restore: async (source) => {
    const parts: Uint8Array[] = []
    for await (const part of source) parts.push(part)
    count = Number(Buffer.concat(parts).toString())
  },
}
const bytes: Codec<Uint8Array> = { encode: (command) => command, decode: (command) => command }

const raft = await Raft.open({
  ...{
    id: 's1',
    dir,
    bootstrap: [{ id: 's1', address: 'alone:1' }],
    stateMachine: counter,
    codec: bytes,
    logger: false,
  },
  ...{ transport: new MemoryNetwork({ clock: systemClock() }).transport('alone:1'), snapshots: false },
})
await raft.ready()
const answer: LoneAnswer = {
  readyMs: performance.now(),
  applied: count,
  rssBytes: process.memoryUsage.rss(),
}
await carryOut(JSON.parse(task) as LoneTask)
await raft.close()
process.send?.(answer)
process.disconnect()

async function carryOut(asked: LoneTask): Promise<void> {
  if ('snapshot' in asked) await raft.snapshot()
  if (!('fill' in asked)) return
  const command = new Uint8Array(COMMAND_BYTES)
  const caller = async (): Promise<void> => {
    while (count < asked.fill) await raft.apply(command)
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, caller))
}
