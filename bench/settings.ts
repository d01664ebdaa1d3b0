/**
 * What the command line asks for. Whatever it says that does not exist, or is out of bounds, is named in a UsageError.
 */

import { parseArgs } from 'node:util'
import type { NativeStoreMode } from 'balsa-raft/storage'

export class UsageError extends Error {}

export interface Settings {
  readonly seconds: number
  readonly inFlight: readonly number[]
  readonly bytes: readonly number[]
  /** Open loop, operations per second; empty: none. */
  readonly rates: readonly number[]
  readonly clients: readonly number[]
  /** Of the stores of Balsa's servers in the suites apply and hashicorp, side by side. */
  readonly modes: readonly NativeStoreMode[]
  /** What carries their messages in the suite apply, side by side. */
  readonly transports: readonly TransportName[]
  /** Where Balsa's servers run in the suite apply, side by side. */
  readonly threads: readonly ThreadName[]
  /** Stores and settings of hashicorp/raft: some of PEERS. */
  readonly peers: readonly string[]
  readonly electionTimeoutMs: number
  /** Of the log that a start is measured over. */
  readonly entries: number
  /** What the snapshot of a state machine has, in the catch-up suite. */
  readonly snapshotMib: number
  /** Where the measured servers and stores have their folders: the disk that is measured. */
  readonly dir: string
  /** Where servers leave their CPU profiles; null: none are made. */
  readonly profile: string | null
}

export interface CommandLine {
  readonly command: 'run' | 'list' | 'help'
  readonly suites: readonly string[]
  readonly rounds: number | null
  readonly seconds: number | null
  readonly out: string
  readonly charts: boolean
  readonly settings: Omit<Settings, 'seconds'>
}

const MODES = ['lmdb', 'journal'] as const

const TRANSPORTS = ['tcp', 'tls', 'grpc'] as const

export type TransportName = (typeof TRANSPORTS)[number]

const THREADS = ['main', 'worker'] as const

export type ThreadName = (typeof THREADS)[number]

const PEERS = ['wal', 'bolt', 'memory'].flatMap((store) => [store, `${store}-tuned`, `${store}-best`])

export const HELP = `npm run bench -- [suites] [options]

  --list                 name the suites, and how long each takes
  --suite a,b            the suites to run (apply); or their names without an option
  --rounds N             rounds over all cases, 1 .. 1000 (5; fewer mark the run)
  --seconds N            length of one measurement, 1 .. 3600 (as the suite says)
  --in-flight 1,64,256,1024
                         closed loop: commands under way, 1 .. 8192
  --bytes 256            bytes of a command, 1 .. 1048576
  --rate 1000,10000      open loop as well: commands per second, 1 .. 1000000
  --clients 50,64,256    connections of redis-benchmark, 1 .. 10000
  --mode lmdb,journal    apply, hashicorp: the native store of our servers, side by side
  --transport tcp        apply: what carries the messages of our servers, side by side: ${TRANSPORTS.join(', ')}
  --thread main,worker   apply: where our servers run, side by side (main)
  --peer wal,wal-best    hashicorp/raft: ${PEERS.join(', ')}
  --election-timeout-ms  of the suites failover and rolling, 300 .. 600000 (1000)
  --entries 10000000     of the log, in the restart suite, 1 .. 1000000000
  --snapshot-mib 1024    of the catch-up suite, 1 .. 65536
  --dir data             where the logs lie that are measured
  --out FOLDER           where the results go (a new folder below data/bench)
  --profile FOLDER       a CPU profile of each server, there
  --no-charts            tables only`

const OPTIONS = {
  list: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  suite: { type: 'string' },
  rounds: { type: 'string' },
  seconds: { type: 'string' },
  'in-flight': { type: 'string', default: '1,64,256,1024' },
  bytes: { type: 'string', default: '256' },
  rate: { type: 'string' },
  clients: { type: 'string', default: '50,64,256' },
  mode: { type: 'string', default: 'lmdb,journal' },
  transport: { type: 'string', default: 'tcp' },
  thread: { type: 'string', default: 'main' },
  peer: { type: 'string', default: 'wal,wal-best' },
  'election-timeout-ms': { type: 'string', default: '1000' },
  entries: { type: 'string', default: '10000000' },
  'snapshot-mib': { type: 'string', default: '1024' },
  dir: { type: 'string', default: 'data' },
  out: { type: 'string' },
  profile: { type: 'string' },
  'no-charts': { type: 'boolean' },
} as const

export function readCommandLine(words: readonly string[], suites: readonly string[]): CommandLine {
  const { values, positionals } = parse(words)
  return {
    command: values.help === true ? 'help' : values.list === true ? 'list' : 'run',
    suites: oneOf(
      'suite',
      [...positionals, ...(values.suite === undefined ? [] : [values.suite])].join(',') || 'apply',
      suites,
    ),
    rounds: values.rounds === undefined ? null : wholeNumber('--rounds', values.rounds, 1, 1000),
    seconds: values.seconds === undefined ? null : wholeNumber('--seconds', values.seconds, 1, 3600),
    out: values.out ?? `data/bench/${new Date().toISOString().slice(0, 19).replaceAll(':', '-')}`,
    charts: values['no-charts'] !== true,
    settings: {
      inFlight: wholeNumbers('--in-flight', values['in-flight'], 8192),
      bytes: wholeNumbers('--bytes', values.bytes, 2 ** 20),
      rates: values.rate === undefined ? [] : wholeNumbers('--rate', values.rate, 1e6),
      clients: wholeNumbers('--clients', values.clients, 10_000),
      modes: oneOf('mode', values.mode, MODES),
      transports: oneOf('transport', values.transport, TRANSPORTS),
      threads: oneOf('thread', values.thread, THREADS),
      peers: oneOf('peer', values.peer, PEERS),
      electionTimeoutMs: wholeNumber('--election-timeout-ms', values['election-timeout-ms'], 300, 600_000),
      entries: wholeNumber('--entries', values.entries, 1, 1e9),
      snapshotMib: wholeNumber('--snapshot-mib', values['snapshot-mib'], 1, 65_536),
      dir: values.dir,
      profile: values.profile ?? null,
    },
  }
}

function parse(words: readonly string[]) {
  try {
    return parseArgs({ args: [...words], options: OPTIONS, allowPositionals: true })
  } catch (error) {
    const known = Object.keys(OPTIONS).map((name) => `--${name}`)
    throw new UsageError(`${(error as Error).message}\nthere are: ${known.join(' ')}`)
  }
}

function oneOf<Name extends string>(what: string, text: string, known: readonly Name[]): readonly Name[] {
  return [...new Set(text.split(','))].map((asked) => {
    const found = known.find((name) => name === asked)
    if (found === undefined) throw new UsageError(`unknown ${what} ${asked}; there are: ${known.join(', ')}`)
    return found
  })
}

function wholeNumbers(name: string, text: string, max: number): readonly number[] {
  return text.split(',').map((part) => wholeNumber(name, part, 1, max))
}

function wholeNumber(name: string, text: string, min: number, max: number): number {
  const value = /^[0-9]{1,10}$/.test(text) ? Number(text) : Number.NaN
  if (value >= min && value <= max) return value
  throw new UsageError(`${name} is ${text}; must be a whole number of ${min} .. ${max}`)
}
