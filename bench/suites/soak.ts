/**
 * Memory and disk under a long load with snapshots: the resident set of each server after every slice of it, its own
 * pages apart from those of files, and what its folder takes on the disk.
 */

import type { Usage } from '../cluster/messages.js'
import { RaftServers } from '../cluster/raft-servers.js'
import type { Measured } from '../cluster/raft-servers.js'
import type { Settings } from '../settings.js'
import type { Case, OpenSuite, Sample, Suite } from '../suite.js'

const SLICE_MS = 2000
/** The part at the beginning in which memory may still grow to its size. */
const SETTLING_SHARE = 0.25
const SNAPSHOT_BYTES = 2 ** 20

export const soak: Suite = {
  name: 'soak',
  purpose: 'memory and disk of three servers under a long closed loop with snapshots; --seconds says how long',
  minutes: 4,
  rounds: 1,
  seconds: 60,
  metrics: [
    { key: 'entries', head: 'entries', digits: 0 },
    { key: 'perSecond', head: 'entries/s', digits: 0 },
    { key: 'settledMiB', head: 'own MiB after a quarter', digits: 0 },
    { key: 'endMiB', head: 'own MiB at the end', digits: 0 },
    { key: 'maxMiB', head: 'own MiB at most', digits: 0 },
    { key: 'settledMappedMiB', head: 'mapped MiB after a quarter', digits: 0 },
    { key: 'endMappedMiB', head: 'mapped MiB at the end', digits: 0 },
    { key: 'firstHalfDiskMiB', head: 'disk MiB at most, first half', digits: 0 },
    { key: 'lastHalfDiskMiB', head: 'last half', digits: 0 },
  ],
  judged: { key: 'endMiB', better: 'less' },
  open,
}

async function open(settings: Settings): Promise<OpenSuite> {
  const servers = await RaftServers.start(settings, { snapshotBytes: SNAPSHOT_BYTES, taken: 'automatic' })
  const cases = settings.bytes.flatMap((payloadBytes) =>
    settings.inFlight.map((inFlight): Case => ({
      contender: 'balsa',
      at: { 'in flight': inFlight, bytes: payloadBytes },
      measure: () => soakOnce(servers, inFlight, payloadBytes, settings.seconds),
    })),
  )
  const notes = [
    'own: the resident set without pages of files, of the largest of the three processes; after the first quarter it should not grow',
    'snapshots of 1 MiB, taken as the defaults say; disk: what the folder of the server with most takes, logs and snapshots',
    'mapped: resident pages of files, the map of the log among them; they grow with what was touched of the log, and the system takes them back when it needs room',
  ]
  return { cases, skipped: [], notes, close: () => servers.close() }
}

async function soakOnce(
  servers: RaftServers,
  inFlight: number,
  payloadBytes: number,
  seconds: number,
): Promise<Sample> {
  const load = { work: 'apply', pace: { inFlight }, payloadBytes, milliseconds: SLICE_MS } as const
  const own: number[] = []
  const mapped: number[] = []
  const disk: number[] = []
  let entries = 0
  let milliseconds = 0
  while (milliseconds < seconds * 1000) {
    const { loaded, usages } = await servers.measure(await servers.leader(), load, 0)
    entries += loaded.operations
    milliseconds += loaded.milliseconds
    own.push(largestMiB(usages, ({ rssBytes, mappedBytes }) => rssBytes - mappedBytes))
    mapped.push(largestMiB(usages, ({ mappedBytes }) => mappedBytes))
    disk.push(servers.diskBytes() / 2 ** 20)
  }
  return {
    entries,
    perSecond: entries / (milliseconds / 1000),
    settledMiB: settled(own),
    endMiB: own.at(-1) ?? Number.NaN,
    maxMiB: Math.max(...own),
    settledMappedMiB: settled(mapped),
    endMappedMiB: mapped.at(-1) ?? Number.NaN,
    firstHalfDiskMiB: Math.max(...disk.slice(0, disk.length / 2)),
    lastHalfDiskMiB: Math.max(...disk.slice(disk.length / 2)),
  }
}

function largestMiB(usages: Measured['usages'], bytes: (usage: Usage) => number): number {
  return Math.max(...usages.map(({ after }) => bytes(after))) / 2 ** 20
}

function settled(sizes: readonly number[]): number {
  return sizes[Math.floor((sizes.length - 1) * SETTLING_SHARE)] ?? Number.NaN
}
