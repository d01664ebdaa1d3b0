/**
 * A script of commands for a cluster, and what the cluster printed for each. In a file, a command stands on one or more
 * lines, then `----`, then the output up to an empty line; lines that begin with # are for the reader.
 *
 * Besides what a cluster does by itself, a script may make up a message (`make s1>s2 RequestVote term=2 last=1/1`, as a
 * trace would write it, in a cluster that is `madeup`), keep messages back (`hold >s1`, `release`), cut ways (`cut s1
 * s3 s4`) and fail a disk (`fail s2`).
 *
 * Single messages are chosen with `first` or `last` (`deliver first s1>s2 RequestVote`), and delivered so that they may
 * arrive once more with `copy`. What one server takes in one turn stands on one line: `turn s2: persist s2; deliver
 * first s1>s2; timeout s2`. `sleep 500` (`sleep until 1500`) lets time pass that nobody notices yet. `restart s2`
 * connects it with all that are up, `start s2` leaves that to `connect s1 s2`. A server that is down takes no part.
 */

import { assert } from '#balsa/errors.js'
import { termOf } from '#balsa/types.js'
import type { HardState } from '#balsa/types.js'
import { Stage } from '#balsa/testing/stage/stage.js'
import { isRequest } from '#balsa/testing/stage/stage-network.js'
import type { StageOptions } from '#balsa/testing/stage/stage.js'
import type { Envelope } from '#balsa/testing/stage/stage-network.js'
import { parseChange, parseMessage } from '#balsa/testing/stage/text.js'

const RULE = '----'

/**
 * Runs the commands of a transcript and returns it with the output that they gave now. `made` is shown each cluster
 * before anything is done with it.
 */
export function replayTranscript(text: string, made: (cluster: Stage) => void = () => {}): string {
  const script = new Script(made)
  const blocks = text.trimEnd().split('\n\n')
  return `${blocks.map((block) => replayBlock(script, block)).join('\n\n')}\n`
}

function replayBlock(script: Script, block: string): string {
  const lines = block.split('\n')
  const rule = lines.indexOf(RULE)
  const commands = rule < 0 ? lines : lines.slice(0, rule)
  const output = commands.filter((line) => !line.startsWith('#')).flatMap((command) => script.run(command))
  if (commands.every((line) => line.startsWith('#'))) return commands.join('\n')
  return [...commands, RULE, ...output].join('\n')
}

export class Script {
  /** Everything that was printed, `quiet` or not. */
  readonly story: string[] = []
  #cluster: Stage | null = null
  /** Messages that the network keeps back until `release`. */
  #held: Envelope[] = []
  readonly #made: (cluster: Stage) => void

  constructor(made: (cluster: Stage) => void = () => {}) {
    this.#made = made
  }

  /** Messages under way. */
  get inFlight(): readonly Envelope[] {
    return this.#cluster?.inFlight ?? []
  }

  /** `quiet` before a command: what it prints is not of interest. */
  run(command: string): readonly string[] {
    if (command.startsWith('quiet ')) {
      this.run(command.slice('quiet '.length))
      return []
    }
    const [verb = '', ...args] = command.split(' ')
    if (verb === 'cluster') {
      this.#cluster = new Stage(optionsOf(args))
      this.#made(this.#cluster)
    }
    const cluster = this.#cluster
    assert(cluster !== null, `transcript: ${command} before there is a cluster`)
    if (verb === 'status') return statusOf(cluster)
    const trace: string[] = verb === 'cluster' ? (cluster.trace ?? []) : []
    cluster.trace = trace
    try {
      if (verb === 'turn') turn(cluster, command)
      else if (verb === 'hold') this.#held.push(...cluster.drop(matcher(args)))
      else if (verb === 'release') for (const envelope of this.#held.splice(0)) cluster.receive(envelope)
      else if (verb !== 'cluster') act(cluster, verb, args)
    } finally {
      this.story.push(...trace)
    }
    return trace
  }
}

/** `turn s2: persist s2; deliver first s1>s2`. */
function turn(cluster: Stage, command: string): void {
  const [, id = '', inputs = ''] = /^turn (\w+): (.*)$/.exec(command) ?? []
  if (cluster.server(id).core === null) return
  cluster.inOneTurn(id, () => {
    for (const input of inputs.split('; ')) {
      const [verb = '', ...args] = input.split(' ')
      act(cluster, verb, args)
    }
  })
}

/** What nobody can do for a server that is down. */
const OF_A_RUNNING_SERVER: ReadonlySet<string> = new Set(
  'timeout persist write report fail apply fetch propose change read transfer yield gone crash disconnect'.split(' '),
)

function act(cluster: Stage, verb: string, args: readonly string[]): void {
  const [first = '', second = ''] = args
  if (OF_A_RUNNING_SERVER.has(verb) && cluster.server(first).core === null) return
  switch (verb) {
    case 'timeout':
      return cluster.core(first).nextDeadline() < Infinity ? cluster.timeout(first) : undefined
    case 'pass':
      return cluster.pass(Number(first))
    case 'run':
      return cluster.run(Number(first))
    case 'settle':
      return cluster.settle()
    case 'sleep':
      cluster.now = Math.max(cluster.now, first === 'until' ? Number(second) : cluster.now + Number(first))
      return
    case 'deliver':
      return deliver(cluster, args)
    case 'drop':
      return void cluster.drop(choice(cluster, args))
    case 'make':
      return makeUp(cluster, first, args.slice(1).join(' '))
    case 'persist':
      return cluster.persist(first, second === '' ? undefined : Number(second))
    case 'write':
      return cluster.write(first, second === '' ? undefined : Number(second))
    case 'report':
      return cluster.report(first)
    case 'fail':
      return cluster.failStore(first)
    case 'apply':
      return cluster.apply(first)
    case 'fetch':
      return cluster.serveFetches(first)
    case 'propose':
      return void cluster.propose(first, second === '' ? 1 : Number(second))
    case 'change':
      return cluster.turn(first, { type: 'configure', id: 0, ...parseChange(args.slice(1).join(' ')) })
    case 'read':
      return void cluster.read(first)
    case 'transfer':
      return void cluster.transfer(first, second === '' ? null : second)
    case 'yield':
      return cluster.turn(first, { type: 'stepDown', reason: 'it was told to' })
    case 'gone':
      return cluster.turn(first, { type: 'peerGone', peer: second })
    case 'crash':
      return cluster.crash(first)
    case 'restart':
      return cluster.restart(first)
    case 'connect':
      return cluster.connect(first, second)
    case 'disconnect':
      return cluster.disconnect(first, second)
    case 'start':
      if (cluster.server(first).core === null) cluster.start(first)
      return
    case 'cut':
      return cutBoth(cluster, args)
    case 'isolate':
      return cluster.isolate(first)
    case 'heal':
      return cluster.heal()
    case 'stall':
      return void cluster.stalledDisks.add(first)
    case 'unstall':
      return void cluster.stalledDisks.delete(first)
    default:
      assert(false, `transcript: no command ${verb}`)
  }
}

/** A message that nobody sent arrives: `make s1>s2 RequestVote term=2 last=1/1`. */
function makeUp(cluster: Stage, way: string, text: string): void {
  const [from = '', to = ''] = way.split('>')
  const message = parseMessage(text)
  if (isRequest(message)) cluster.askOnly(from, to, message)
  else cluster.answer(from, to, message)
}

function cutBoth(cluster: Stage, [id = '', ...others]: readonly string[]): void {
  for (const other of others) {
    cluster.cut(id, other)
    cluster.cut(other, id)
  }
}

/** All that match, or the one that `first`, `last` or `copy` (the first, which stays under way) chooses. */
function deliver(cluster: Stage, args: readonly string[]): void {
  if (args[0] === 'copy')
    for (const envelope of cluster.inFlight.filter(choice(cluster, args))) cluster.receive(envelope)
  else cluster.deliver(choice(cluster, args))
}

function choice(cluster: Stage, args: readonly string[]): (envelope: Envelope) => boolean {
  const [which = '', ...rest] = args
  if (which !== 'first' && which !== 'last' && which !== 'copy') return matcher(args)
  const matching = cluster.inFlight.filter(matcher(rest))
  const chosen = which === 'last' ? matching.at(-1) : matching[0]
  return (envelope) => envelope === chosen
}

/** Any of `s1>s2`, `>s2`, `s1>` and a message type. */
function matcher(args: readonly string[]): (envelope: Envelope) => boolean {
  return ({ from, to, message }) =>
    args.every((arg) => {
      if (!arg.includes('>')) return message.type === arg
      const [sender, receiver] = arg.split('>')
      return (sender === '' || sender === from) && (receiver === '' || receiver === to)
    })
}

/**
 * `servers=5`, `log=s1:1,2,2`, `term=s1:9`, `vote=s1:s3`, `nonvoter=s4`, `spare=s5` (no member, with an empty disk),
 * and `madeup` where the script makes up messages.
 */
function optionsOf(args: readonly string[]): StageOptions {
  const logs: Record<string, readonly number[]> = {}
  const hardStates: Record<string, Partial<HardState>> = {}
  const nonvoters: string[] = []
  const spares: string[] = []
  let servers = 3
  for (const arg of args) {
    const [name, value = ''] = arg.split('=')
    const [id = '', rest = ''] = value.split(':')
    if (name === 'servers') servers = Number(value)
    else if (name === 'log') logs[id] = rest.split(',').map(Number)
    else if (name === 'term') hardStates[id] = { ...hardStates[id], term: termOf(Number(rest)) }
    else if (name === 'vote') hardStates[id] = { ...hardStates[id], votedFor: rest }
    else if (name === 'nonvoter') nonvoters.push(value)
    else if (name === 'spare') spares.push(value)
    else assert(name === 'madeup', `transcript: no option ${name}`)
  }
  const options = { servers, spares, logs, hardStates, madeUp: args.includes('madeup') }
  if (nonvoters.length === 0) return options
  const { configuration } = new Stage({ servers })
  const added = nonvoters.map((id) => ({ id, address: `${id}:1`, promote: false }))
  return { ...options, configuration: { ...configuration, nonvoters: added } }
}

function statusOf(cluster: Stage): readonly string[] {
  return cluster.ids.map((id) => {
    const { core, machine, disk } = cluster.server(id)
    if (core === null) return `${id} down, durable ${disk.durable.lastIndex}`
    const { lastIndex, durableIndex, commitIndex } = core.log
    const terms = disk.accepted.entries.map(({ term }) => term).join(',')
    const pointers = `last ${lastIndex} durable ${durableIndex} commit ${commitIndex} applied ${machine.applied.length}`
    return `${id} ${core.role} term ${core.term} vote ${core.votedFor ?? '-'} ${pointers} log ${terms}`
  })
}
