/** What `RaftClient.connect` takes, the check of it, and the settings that come of it. */

import { isSignal } from '../call-options.js'
import { guardedClock, systemClock } from '../clock.js'
import { isOurs } from '../errors.js'
import { textOf } from '../foreign-values.js'
import { msgpackCodec } from '../machine/msgpack-codec.js'
import { GuardedQueryCodec } from '../machine/query-codec.js'
import type { Codec } from '../machine/state-machine.js'
import { GuardedCodec, GuardedResultCodec } from '../machine/user-code.js'
import { guardedLogger } from '../observe/guarded-logger.js'
import { loggerOf } from '../observe/loggers.js'
import { checkNumber, checkOptionNames, fail, has, optionsError, shown } from '../option-checks.js'
import { clientAddressFlaw, Credentials } from '../transport/tcp/client-dial.js'
import type { TlsSource, TokenSource } from '../transport/tcp/tls-options.js'
import type { Clock, Logger } from '../types.js'

/** What `RaftClient.connect` takes. What is not given has its default; an unknown name is refused. */
export interface ClientOptions<Command, Result = unknown, Query = unknown, Answer = unknown> {
  /**
   * Where servers of the cluster are dialled, as in their `bootstrap`: `host:port`, 1 .. 64 of them. One is enough
   * while it runs: the others are learned from it, and are dialled where none of these is reached.
   */
  readonly endpoints: readonly string[]
  /** The name of the cluster, as the servers have it. Default 'balsa'. */
  readonly cluster?: string
  /**
   * With what connections are encrypted, and which servers are believed: as of the servers (docs/security.md).
   * Default: nothing is encrypted.
   */
  readonly tls?: TlsSource
  /** The token of the servers, if they have one. Needs `tls`. */
  readonly token?: TokenSource
  /** That of the servers. */
  readonly codec: Codec<Command>
  /** That of the servers. Default `msgpackCodec()`. */
  readonly resultCodec?: Codec<Result>
  /** That of the servers. Default `msgpackCodec()`. */
  readonly queryCodec?: Codec<Query>
  /** That of the servers. Default `msgpackCodec()`. */
  readonly answerCodec?: Codec<Answer>
  /**
   * Which server is asked. `leader`, the default: the leader, where it is reached, so that nothing is forwarded; `any`:
   * whichever was connected first, at random, so that queries spread over all servers.
   */
  readonly prefer?: 'leader' | 'any'
  /** `connect` rejects when no server was connected by then. 1 .. 2^31 - 1, default 30000. */
  readonly timeoutMs?: number
  /** Ends the wait of `connect`, which then rejects with ERR_RAFT_ABORTED. */
  readonly signal?: AbortSignal
  /** A dial that has not connected by then has failed. 10 .. 60000, default 2000. */
  readonly dialTimeoutMs?: number
  /** So long a server may take to let this client in. 10 .. 60000, default 5000. */
  readonly handshakeTimeoutMs?: number
  /**
   * When all endpoints have failed, they are dialled again after this at first, then after twice as long each time,
   * less up to half at random. 1 .. 60000, default 50.
   */
  readonly backoffMinMs?: number
  /** Up to this. `backoffMinMs` .. 600000, default 2000. */
  readonly backoffMaxMs?: number
  /** As of `Raft.open`: who hears what the client logs. Default: the console, of warnings and errors alone. */
  readonly logger?: Logger | false
  /** Default: the machine's clocks and timers. */
  readonly clock?: Clock
  /** In [0, 1). Default `Math.random`. */
  readonly random?: () => number
}

/** Checked options, every one of them there, and what users bring behind its guard. */
export interface ClientSettings<Command, Result, Query, Answer> extends ConnectionSettings {
  readonly codec: GuardedCodec<Command>
  readonly resultCodec: GuardedResultCodec<Result>
  readonly queryCodec: GuardedQueryCodec<Query>
  readonly answerCodec: GuardedQueryCodec<Answer>
}

/** Those of them that no type of a user's stands in. */
export interface ConnectionSettings {
  readonly endpoints: readonly string[]
  readonly cluster: string
  readonly prefersLeader: boolean
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
  readonly dialTimeoutMs: number
  readonly handshakeTimeoutMs: number
  readonly backoffMinMs: number
  readonly backoffMaxMs: number
  /** Null: nothing is encrypted. */
  readonly credentials: Credentials | null
  readonly logger: Logger
  readonly clock: Clock
  readonly random: () => number
}

const OPTION_NAMES = Object.keys({
  ...{
    endpoints: true,
    cluster: true,
    tls: true,
    token: true,
    codec: true,
    resultCodec: true,
    queryCodec: true,
    answerCodec: true,
  },
  ...{ prefer: true, timeoutMs: true, signal: true, dialTimeoutMs: true, handshakeTimeoutMs: true },
  ...{ backoffMinMs: true, backoffMaxMs: true, logger: true, clock: true, random: true },
} satisfies Record<keyof ClientOptions<unknown>, true>)

const ENDPOINTS_MAX = 64
const NAME_BYTES_MAX = 255
const SYSTEM_CLOCK = systemClock()

/** Throws ERR_RAFT_OPTIONS on the first thing that is wrong, also when a getter or a Proxy of the caller throws. */
export function clientSettingsOf<Command, Result, Query, Answer>(
  options: ClientOptions<Command, Result, Query, Answer>,
): ClientSettings<Command, Result, Query, Answer> {
  try {
    return readSettings(options)
  } catch (error) {
    if (isOurs(error)) throw error
    throw optionsError(`the options of RaftClient.connect cannot be read: ${textOf(error)}`, error)
  }
}

function readSettings<Command, Result, Query, Answer>(
  options: ClientOptions<Command, Result, Query, Answer>,
): ClientSettings<Command, Result, Query, Answer> {
  checkOptionNames('RaftClient.connect', options, OPTION_NAMES)
  const { endpoints, cluster = 'balsa', codec, prefer = 'leader', timeoutMs = 30_000, signal } = options
  const { dialTimeoutMs = 2000, handshakeTimeoutMs = 5000, backoffMinMs = 50 } = options
  const { backoffMaxMs = Math.max(2000, backoffMinMs), clock = SYSTEM_CLOCK, random = Math.random } = options
  const codecs = {
    codec,
    resultCodec: options.resultCodec ?? msgpackCodec<Result>(),
    queryCodec: options.queryCodec ?? msgpackCodec<Query>(),
    answerCodec: options.answerCodec ?? msgpackCodec<Answer>(),
  }
  checkEndpoints(endpoints)
  const bytes = typeof cluster === 'string' ? Buffer.byteLength(cluster) : 0
  if (bytes === 0 || bytes > NAME_BYTES_MAX) fail('cluster', `must be a string of 1 .. ${NAME_BYTES_MAX} bytes`)
  for (const [name, each] of Object.entries(codecs)) {
    if (!has(each, 'encode', 'decode')) fail(name, 'must have encode and decode functions')
  }
  if (prefer !== 'leader' && prefer !== 'any') fail('prefer', `is ${shown(prefer)}; must be leader or any`)
  checkNumber('timeoutMs', timeoutMs, 1, 2 ** 31 - 1)
  checkNumber('dialTimeoutMs', dialTimeoutMs, 10, 60_000)
  checkNumber('handshakeTimeoutMs', handshakeTimeoutMs, 10, 60_000)
  checkNumber('backoffMinMs', backoffMinMs, 1, 60_000)
  checkNumber('backoffMaxMs', backoffMaxMs, backoffMinMs, 600_000)
  if (signal !== undefined && !isSignal(signal)) fail('signal', 'must be an AbortSignal')
  if (!has(clock, 'now', 'wallNow', 'setTimer', 'defer')) {
    fail('clock', 'must have the functions now, wallNow, setTimer and defer')
  }
  if (typeof random !== 'function') fail('random', 'must be a function that draws from [0, 1)')
  const logger = loggerOf(options.logger, null)
  if (!has(logger, 'debug', 'info', 'warn', 'error')) {
    fail('logger', 'must have the functions debug, info, warn and error, or be false')
  }
  return {
    ...{ endpoints: [...endpoints], cluster, prefersLeader: prefer === 'leader', timeoutMs, signal },
    ...{ dialTimeoutMs, handshakeTimeoutMs, backoffMinMs, backoffMaxMs, random },
    credentials: Credentials.of('RaftClient.connect', options, false),
    codec: new GuardedCodec(codec),
    resultCodec: new GuardedResultCodec(codecs.resultCodec),
    queryCodec: new GuardedQueryCodec('queryCodec', codecs.queryCodec),
    answerCodec: new GuardedQueryCodec('answerCodec', codecs.answerCodec),
    clock: clock === SYSTEM_CLOCK ? SYSTEM_CLOCK : guardedClock(clock),
    logger: guardedLogger(logger),
  }
}

function checkEndpoints(endpoints: unknown): void {
  const isList = Array.isArray(endpoints) && endpoints.length >= 1 && endpoints.length <= ENDPOINTS_MAX
  if (!isList) fail('endpoints', `must be a list of 1 .. ${ENDPOINTS_MAX} addresses of servers`)
  for (const endpoint of endpoints as readonly unknown[]) {
    const flaw = clientAddressFlaw(endpoint)
    if (flaw !== null) fail('endpoints', `has ${shown(endpoint)}; ${flaw}`)
  }
}
