/**
 * A follower that was away catches up by a snapshot while the leader takes writes at half of what it can: what the
 * writes notice of it, what it costs either side in memory, and how long it takes.
 */

import type { ChildProcess } from 'node:child_process'
import { RaftServers, usageOf } from '../cluster/raft-servers.js'
import type { Usage } from '../cluster/messages.js'
import type { Settings } from '../settings.js'
import type { Case, OpenSuite, Sample, Suite } from '../suite.js'

const IN_FLIGHT = 256
/** More than a log keeps of what a snapshot covers. */
const MISSED_ENTRIES = 20_000
const WARM_UP_MS = 1000
const LOOK_EVERY_MS = 100
/** Ended when what is looked at is over. */
const LOAD_MS_MAX = 3_600_000
const MIB = 2 ** 20

export const catchUp: Suite = {
  name: 'catch-up',
  purpose: 'a follower catches up by a snapshot while the leader takes writes at half its capacity',
  minutes: 4,
  rounds: 3,
  seconds: 10,
  metrics: [
    { key: 'perSecond', head: 'writes/s', digits: 0 },
    { key: 'p99Without', head: 'p99 without ms', digits: 2 },
    { key: 'p99', head: 'p99 ms', digits: 2 },
    { key: 'ratio', head: 'of without', digits: 2 },
    { key: 'leaderMiB', head: 'leader + MiB', digits: 1 },
    { key: 'followerMiB', head: 'follower + MiB', digits: 1 },
    { key: 'seconds', head: 'seconds', digits: 1 },
    { key: 'mibPerSecond', head: 'MiB/s', digits: 0 },
  ],
  judged: { key: 'ratio', better: 'less' },
  open,
}

const NOTES = [
  'without: right before, with the follower away, so that the same two servers acknowledge; the load is an open loop at half of what a closed one with 256 in flight reached on three servers',
  'leader, follower: the most that it had of its own (without pages of files) in that time, beyond the most that it had under the same load: the leader right before, the follower before it went away',
  'p99: from when the follower is open, and is offered the snapshot, until it has restored it; seconds: the same time',
]

async function open(settings: Settings): Promise<OpenSuite> {
  const servers = await RaftServers.start(settings, { snapshotBytes: settings.snapshotMib * MIB })
  const cases = settings.bytes.map((payloadBytes): Case => ({
    contender: 'balsa',
    at: { 'snapshot MiB': settings.snapshotMib, bytes: payloadBytes },
    measure: () => measure(servers, settings, payloadBytes),
  }))
  return { cases, skipped: [], notes: NOTES, close: () => servers.close() }
}

async function measure(
  servers: RaftServers,
  { seconds, snapshotMib }: Settings,
  payloadBytes: number,
): Promise<Sample> {
  const milliseconds = seconds * 1000
  const full = { work: 'apply', pace: { inFlight: IN_FLIGHT }, payloadBytes, milliseconds } as const
  const leader = await servers.leader()
  const follower = await servers.follower()
  const { loaded } = await servers.measure(leader, full, WARM_UP_MS)
  const half = {
    ...full,
    milliseconds: LOAD_MS_MAX,
    pace: { perSecond: loaded.operations / (loaded.milliseconds / 1000) / 2 },
  } as const
  // What the follower has under this load when nothing is missing.
  const steady = new Most([follower])
  await servers.loadWhile(leader, half, () => steady.look(performance.now() + milliseconds))

  const { appliedIndex } = await usageOf(follower)
  await servers.stop(follower)
  for (let at = appliedIndex; at < appliedIndex + MISSED_ENTRIES; at = (await usageOf(leader)).appliedIndex) {
    await servers.load(leader, { ...full, milliseconds: WARM_UP_MS })
  }
  const { index } = await servers.snapshot(leader)
  const before = new Most([leader])
  const without = await servers.loadWhile(leader, half, () => before.look(performance.now() + milliseconds))

  const baseline = [...before.bytes, ...steady.bytes]
  // A process that starts, with all that it compiles, costs more than what is measured: on two cores above all.
  const most = new Most([leader, await servers.restart(follower)])
  const startedAt = performance.now()
  const withIt = await servers.loadWhile(leader, half, () =>
    most.look(Infinity, ([, its]) => (its?.appliedIndex ?? 0) >= index),
  )
  const took = (performance.now() - startedAt) / 1000
  const growth = (at: number): number => ((most.bytes[at] ?? Number.NaN) - (baseline[at] ?? Number.NaN)) / MIB
  return {
    perSecond: withIt.loaded.operations / (withIt.loaded.milliseconds / 1000),
    p99Without: without.latencies.p99,
    p99: withIt.latencies.p99,
    ratio: withIt.latencies.p99 / without.latencies.p99,
    leaderMiB: growth(0),
    followerMiB: growth(1),
    seconds: took,
    mibPerSecond: snapshotMib / took,
  }
}

/** The most memory of its own that each of some servers was seen to have. */
class Most {
  readonly bytes: number[]
  readonly #servers: readonly ChildProcess[]

  constructor(servers: readonly ChildProcess[]) {
    this.#servers = servers
    this.bytes = servers.map(() => 0)
  }

  /** Looks now and then, until that time or until it is so. */
  async look(end: number, isSo: (usages: readonly Usage[]) => boolean = () => false): Promise<void> {
    for (;;) {
      const usages = await Promise.all(this.#servers.map((server) => usageOf(server)))
      for (const [at, { rssBytes, mappedBytes }] of usages.entries()) {
        this.bytes[at] = Math.max(this.bytes[at] ?? 0, rssBytes - mappedBytes)
      }
      if (performance.now() >= end || isSo(usages)) return
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))
    }
  }
}
