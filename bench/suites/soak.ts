/** Memory under a long load: the resident set of each server after every slice of it. */

import { RaftServers } from '../cluster/raft-servers.js'
import type { Settings } from '../settings.js'
import type { Case, OpenSuite, Sample, Suite } from '../suite.js'

const SLICE_MS = 2000
/** The part at the beginning in which memory may still grow to its size. */
const SETTLING_SHARE = 0.25

export const soak: Suite = {
  name: 'soak',
  purpose: 'memory of three servers under a long closed loop; --seconds says how long',
  minutes: 4,
  rounds: 1,
  seconds: 60,
  metrics: [
    { key: 'entries', head: 'entries', digits: 0 },
    { key: 'perSecond', head: 'entries/s', digits: 0 },
    { key: 'settledMiB', head: 'RSS MiB after a quarter', digits: 0 },
    { key: 'endMiB', head: 'RSS MiB at the end', digits: 0 },
    { key: 'maxMiB', head: 'RSS MiB at most', digits: 0 },
  ],
  judged: { key: 'endMiB', better: 'less' },
  open,
}

async function open(settings: Settings): Promise<OpenSuite> {
  const servers = await RaftServers.start(settings)
  const cases = settings.bytes.flatMap((payloadBytes) =>
    settings.inFlight.map((inFlight): Case => ({
      contender: 'balsa',
      at: { 'in flight': inFlight, bytes: payloadBytes },
      measure: () => soakOnce(servers, inFlight, payloadBytes, settings.seconds),
    })),
  )
  const notes = ['RSS: of the largest of the three processes; after the first quarter it should not grow']
  return { cases, skipped: [], notes, close: () => servers.close() }
}

async function soakOnce(
  servers: RaftServers,
  inFlight: number,
  payloadBytes: number,
  seconds: number,
): Promise<Sample> {
  const load = { work: 'apply', pace: { inFlight }, payloadBytes, milliseconds: SLICE_MS } as const
  const sizes: number[] = []
  let entries = 0
  let milliseconds = 0
  while (milliseconds < seconds * 1000) {
    const { loaded, usages } = await servers.measure(await servers.leader(), load, 0)
    entries += loaded.operations
    milliseconds += loaded.milliseconds
    sizes.push(Math.max(...usages.map(({ after }) => after.rssBytes)) / 2 ** 20)
  }
  const settled = sizes[Math.floor((sizes.length - 1) * SETTLING_SHARE)] ?? Number.NaN
  const end = sizes.at(-1) ?? Number.NaN
  const perSecond = entries / (milliseconds / 1000)
  return { entries, perSecond, settledMiB: settled, endMiB: end, maxMiB: Math.max(...sizes) }
}
