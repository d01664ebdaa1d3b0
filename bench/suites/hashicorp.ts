/**
 * The `apply` suite with hashicorp/raft beside it: the same loop, sizes and rounds. The peer is a Go program of this
 * repository, built when the suite opens; each of its measurements starts three fresh servers and prints one line of
 * JSON.
 */

import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { root } from '../cluster/root.js'
import type { Settings } from '../settings.js'
import type { Case, OpenSuite, Sample, Suite } from '../suite.js'
import { APPLY_METRICS, APPLY_WARM_UP_MS, openApply } from './apply.js'

const run = promisify(execFile)

const SOURCE = join(root, 'bench/peers/hashicorp')
const BINARY = join(root, 'build/bench/hashicorp')
/** On top of the measurement: start, election, end. */
const PEER_MS_MAX = 120_000

const SETTINGS: Readonly<Record<string, readonly string[]>> = {
  default: [],
  tuned: ['--tuned'],
  best: ['--tuned', '--log-cache', '512'],
}

export const hashicorp: Suite = {
  name: 'hashicorp',
  purpose: 'apply, with hashicorp/raft (Go) in the same rounds; --peer chooses its stores and settings',
  minutes: 9,
  rounds: 5,
  seconds: 5,
  metrics: APPLY_METRICS,
  judged: { key: 'perSecond', better: 'more' },
  open,
}

async function open(settings: Settings): Promise<OpenSuite> {
  const reason = await whyNot()
  const own = await openApply(settings)
  if (reason !== null) return { ...own, skipped: [...own.skipped, { what: 'hashicorp/raft', reason }] }
  const noOpenLoop = { what: 'hashicorp/raft in an open loop (--rate)', reason: 'the peer has a closed loop only' }
  const peers = settings.bytes.flatMap((bytes) =>
    settings.inFlight.flatMap((inFlight) => settings.peers.map((peer) => peerCase(peer, inFlight, bytes, settings))),
  )
  const notes = [
    'hashicorp/raft: three fresh servers for each measurement, the load in the leader; tuned: MaxAppendEntries 1024 and BatchApplyCh; best: a LogCache of 512 entries as well',
    'the servers of balsa stay up, idle, while a peer is measured, and keep the log of all rounds',
  ]
  const skipped = [...own.skipped, ...(settings.rates.length === 0 ? [] : [noOpenLoop])]
  return { ...own, cases: [...own.cases, ...peers], skipped, notes: [...own.notes, ...notes] }
}

/** Builds the program; why that cannot be, or null. */
async function whyNot(): Promise<string | null> {
  if (!existsSync(join(SOURCE, 'main.go'))) return 'there is no bench/peers/hashicorp here'
  try {
    await run('go', ['build', '-o', BINARY, '.'], { cwd: SOURCE })
    return null
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    return code === 'ENOENT' ? 'there is no go on the PATH' : `go build failed: ${message.trim()}`
  }
}

function peerCase(peer: string, inFlight: number, bytes: number, { dir, seconds }: Settings): Case {
  const [store = '', setting = 'default'] = peer.split('-')
  const load = ['--in-flight', `${inFlight}`, '--bytes', `${bytes}`, '--seconds', `${seconds}`]
  const words = [
    '--store',
    store,
    ...(SETTINGS[setting] ?? []),
    ...load,
    '--warm-up',
    `${APPLY_WARM_UP_MS / 1000}`,
    '--dir',
    dir,
  ]
  return {
    contender: `hashicorp ${peer}${store === 'memory' ? ' (not durable)' : ''}`,
    at: { 'in flight': inFlight, bytes },
    async measure() {
      const { stdout } = await run(BINARY, words, { timeout: seconds * 1000 + PEER_MS_MAX })
      return sampleOf(stdout)
    },
  }
}

function sampleOf(line: string): Sample {
  const printed = JSON.parse(line) as Readonly<Record<string, unknown>>
  const known = ['perSecond', 'p50', 'p99', 'p999', 'cpuPerEntry', 'drainMs'].flatMap((key) => {
    const value = printed[key]
    return typeof value === 'number' ? [[key, value] as const] : []
  })
  return Object.fromEntries(known)
}
