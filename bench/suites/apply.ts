/** Commands through three servers on loopback, everything durable, the load in the leader's process. */

import { RaftServers, SERVERS } from '../cluster/raft-servers.js'
import type { Measured } from '../cluster/raft-servers.js'
import type { Pace } from '../cluster/messages.js'
import type { Settings } from '../settings.js'
import type { Case, Metric, OpenSuite, Sample, Suite } from '../suite.js'

export const APPLY_WARM_UP_MS = 1000

export const APPLY_METRICS: readonly Metric[] = [
  { key: 'perSecond', head: 'entries/s', digits: 0 },
  { key: 'p50', head: 'p50 ms', digits: 2 },
  { key: 'p99', head: 'p99 ms', digits: 2 },
  { key: 'p999', head: 'p99.9 ms', digits: 2 },
  { key: 'cpuPerEntry', head: 'CPU us/entry', digits: 1 },
  { key: 'flushesPerEntry', head: 'flushes/entry', digits: 3 },
  { key: 'entriesPerCommit', head: 'entries/commit', digits: 1 },
  { key: 'loopDelayP99', head: 'loop delay p99 ms', digits: 1 },
  { key: 'gcShare', head: 'GC %', digits: 1 },
  { key: 'rssMiB', head: 'RSS MiB', digits: 0 },
  { key: 'drainMs', head: 'drain ms', digits: 1 },
  { key: 'refused', head: 'refused', digits: 0 },
]

export const APPLY_NOTES = [
  'CPU: user and system time of all three processes, the load included; flushes and group commits: of one server, counted by the store',
  'drain: from the end of the time, after which nothing is begun, to the last answer; with many in flight it shows whether the end of a burst stalls',
  'refused: too much waited in the leader (8192 commands or 16 MiB); a closed loop asks again after the next answer while the latency runs on, an open loop gives the command up',
  'loop delay, GC and RSS: the worst of the three processes; loop delay is sampled every 10 ms',
  'open loop: latency counts from when the schedule wanted the command (no coordinated omission), and the schedule is looked at every millisecond',
]

export const apply: Suite = {
  name: 'apply',
  purpose: 'commands through three servers, closed loop and, with --rate, open loop',
  minutes: 2,
  rounds: 5,
  seconds: 5,
  metrics: APPLY_METRICS,
  judged: { key: 'perSecond', better: 'more' },
  open: openApply,
}

export async function openApply(settings: Settings): Promise<OpenSuite> {
  const opened: RaftServers[] = []
  const cases: Case[] = []
  const close = async (): Promise<void> => {
    for (const servers of opened) await servers.close()
  }
  try {
    for (const mode of settings.modes) {
      for (const transport of settings.transports) {
        for (const thread of settings.threads) {
          const servers = await RaftServers.start(settings, { mode, transport, thread })
          opened.push(servers)
          const contender = [
            'balsa',
            mode,
            ...(transport === 'tcp' ? [] : [transport]),
            ...(thread === 'main' ? [] : [thread]),
          ]
          cases.push(...casesOf(contender.join(' '), servers, settings))
        }
      }
    }
  } catch (error) {
    await close()
    throw error
  }
  return { cases, skipped: [], notes: APPLY_NOTES, close }
}

/** Closed loops, and the open ones that are asked for. */
function casesOf(
  contender: string,
  servers: RaftServers,
  { inFlight, bytes, rates, seconds }: Settings,
): readonly Case[] {
  const one = (at: Case['at'], pace: Pace, payloadBytes: number): Case => ({
    contender,
    at,
    async measure() {
      const load = { work: 'apply', pace, payloadBytes, milliseconds: seconds * 1000 } as const
      return sampleOf(await servers.measure(await servers.leader(), load, APPLY_WARM_UP_MS))
    },
  })
  return bytes.flatMap((size) => [
    ...inFlight.map((callers) => one({ 'in flight': callers, bytes: size }, { inFlight: callers }, size)),
    ...rates.map((perSecond) => one({ 'rate/s': perSecond, bytes: size }, { perSecond }, size)),
  ])
}

function sampleOf({ loaded, latencies, usages }: Measured): Sample {
  const { operations, refused, milliseconds, drainMilliseconds } = loaded
  const sum = (pick: (usage: Measured['usages'][number]['before']) => number): number =>
    usages.reduce((total, { before, after }) => total + pick(after) - pick(before), 0)
  const worst = (pick: (usage: Measured['usages'][number]) => number): number => Math.max(...usages.map(pick))
  const commits = sum(({ store }) => store.groupCommits)
  return {
    perSecond: operations / (milliseconds / 1000),
    p50: latencies.p50,
    p99: latencies.p99,
    p999: latencies.p999,
    cpuPerEntry: sum(({ cpuMicroseconds }) => cpuMicroseconds) / operations,
    flushesPerEntry: sum(({ store }) => store.flushes) / SERVERS / operations,
    ...(commits === 0 ? {} : { entriesPerCommit: (operations * SERVERS) / commits }),
    loopDelayP99: worst(({ after }) => after.loopDelayP99),
    gcShare: worst(({ before, after }) => ((after.gcMilliseconds - before.gcMilliseconds) / milliseconds) * 100),
    rssMiB: worst(({ after }) => after.rssBytes) / 2 ** 20,
    drainMs: drainMilliseconds,
    refused,
  }
}
