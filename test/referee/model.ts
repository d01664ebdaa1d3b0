/**
 * What is known of a cluster at one place of its trace: plain sets and maps, one copy of the log for every write.
 * Nothing is clever, so that it can be read beside figure 2 of the paper.
 */

import type {
  AppendEntries,
  ClusterEvent,
  Message,
  RequestVote,
  ServerEvent,
  Snapshot,
  Voters,
  WriteStep,
} from './trace-format.js'
import { entriesIn } from './trace-format.js'
import type { RuleName } from './rules.js'

export interface Entry {
  readonly term: number
  /** Null: it was there before the trace began. */
  readonly hash: string | null
  readonly configuration?: Voters
}

/**
 * The persistent state of figures 2 and 12. The entry of index i stands at i - 1, also when it was discarded: what was
 * committed at its place is known.
 */
export interface Stable {
  readonly term: number
  readonly votedFor: string | null
  readonly commit: number
  readonly log: readonly Entry[]
  /** The first entry that was not discarded. */
  readonly first: number
  readonly snapshot: Snapshot | null
}

export type Boot = Extract<ServerEvent, { readonly event: 'boot' }>
export type Turn = Extract<ServerEvent, { readonly event: 'turn' }>

export const NOTHING: Stable = { term: 0, votedFor: null, commit: 0, log: [], first: 1, snapshot: null }

/** What a server has learned since it booted. */
export class Memory {
  turn: Turn | null = null
  turnBefore: Turn | null = null
  applied = 0
  /** Terms that messages named; a proposed term is none. */
  readonly heard = new Set<number>()
  readonly proposals = new Set<number>()
  /** Terms whose leader has asked it to call for an election. */
  readonly timeouts = new Set<number>()
  /** Requests received, by `term/candidate`. */
  readonly voteRequests = new Map<string, RequestVote[]>()
  readonly preVotesFrom = new Set<string>()
  /** Of its own pre-votes: the proposed term of each round. */
  readonly preVoteRounds = new Map<number, number>()
  /** By proposed term. */
  readonly preVoteGrants = new Map<number, Set<string>>()
  /** By term. */
  readonly grants = new Map<number, Set<string>>()
  /** What its log might have been when it became candidate, by term. */
  readonly candidacies = new Map<number, readonly (readonly Entry[])[]>()
  /** Entries received, by the term of the leader and then by index. */
  readonly offered = new Map<number, Map<number, Entry>>()
  /** Received since the last turn. */
  fresh: AppendEntries[] = []
  /** How far AppendEntries of leaders allow it to commit. */
  clamp = 0
  /** By leader: in which term it was heard last, and when the newest of its messages that came in had been sent. */
  readonly contacts = new Map<string, { readonly term: number; readonly sentAt: number }>()
  /** By term, by peer: the newest message of this server that an answer of the peer followed. */
  readonly answers = new Map<number, Map<string, number>>()
  readonly reads = new Map<number, { readonly at: number; readonly floor: number }>()
}

export class ServerModel {
  readonly id: string
  isUp = false
  hasBooted = false
  isHalted = false
  accepted: Stable = NOTHING
  /** Its log when the last turn began. */
  logBefore: readonly Entry[] = []
  durable: Stable = NOTHING
  /** What the stable storage will hold after each write that is under way. */
  pending: { readonly write: number; readonly stable: Stable }[] = []
  lastWrite = 0
  /** Since its last turn. */
  hasWritten = false
  /** Every vote that was ever in its stable storage, by term. */
  readonly durableVotes = new Map<number, string>()
  /** Every index of a snapshot on which its stable log ever stood. */
  readonly durableSnapshots = new Set<number>()
  /** The highest commit index that it ever had. */
  commitMax = 0
  bootCommit = 0
  memory = new Memory()

  constructor(id: string) {
    this.id = id
  }

  get commit(): number {
    return this.memory.turn?.commit ?? this.bootCommit
  }

  /** Terms in which it may have acted in the turn that was last. */
  get latestTerms(): readonly number[] {
    const { turn, turnBefore } = this.memory
    return [turnBefore?.term ?? this.durable.term, turn?.term ?? this.durable.term]
  }

  persisted(write: number): void {
    const done = this.pending.filter((item) => item.write <= write)
    this.pending = this.pending.filter((item) => item.write > write)
    for (const { stable } of done) this.keep(stable)
  }

  keep(stable: Stable): void {
    this.durable = stable
    if (stable.votedFor !== null) this.durableVotes.set(stable.term, stable.votedFor)
    if (stable.snapshot !== null) this.durableSnapshots.add(stable.snapshot.index)
  }

  remember(from: string, message: Message): void {
    const { memory } = this
    switch (message.type) {
      case 'AppendEntries':
        memory.heard.add(message.term)
        memory.fresh.push(message)
        for (const { index, ...entry } of message.entries.flatMap(entriesIn)) {
          at(memory.offered, message.term, () => new Map<number, Entry>()).set(index, entry)
        }
        return
      case 'AppendEntriesResult':
        memory.heard.add(message.term)
        return
      case 'RequestVote':
        memory.heard.add(message.term)
        at(memory.voteRequests, `${message.term}/${from}`, (): RequestVote[] => []).push(message)
        return
      case 'TimeoutNow':
        memory.timeouts.add(message.term)
        return
      case 'RequestVoteResult':
        memory.heard.add(message.term)
        if (message.granted) at(memory.grants, message.term, () => new Set<string>()).add(from)
        return
      case 'PreVote':
        memory.proposals.add(message.proposedTerm)
        memory.preVotesFrom.add(`${message.proposedTerm}/${from}`)
        return
      case 'PreVoteResult': {
        memory.heard.add(message.term)
        const term = memory.preVoteRounds.get(message.round)
        if (message.granted && term !== undefined) {
          at(memory.preVoteGrants, term, () => new Set<string>()).add(from)
        }
        return
      }
    }
  }
}

interface Identity {
  hash: string | null
  readonly termBefore: number
  readonly configuration?: Voters
}

export interface LeaderModel {
  readonly server: string
  /** Its log; once its term is over, as it was then. */
  log: readonly Entry[]
}

export interface Committed extends Entry {
  /** The earliest term whose leader is known to have committed it. */
  in: number
}

/** What was sent, by what it says: equal messages between the same two servers cannot be told apart. */
export interface Sent {
  /** The first time. */
  readonly at: number
  /** When the newest message was sent that the sender had received from the receiver, in this term; 0 for none. */
  readonly follows: number
}

export class World {
  readonly cluster: ClusterEvent
  readonly blame: (rule: RuleName, detail: string) => void
  readonly servers = new Map<string, ServerModel>()
  readonly leaders = new Map<number, LeaderModel>()
  /** By index. */
  readonly committed = new Map<number, Committed>()
  readonly applied = new Map<number, Entry>()
  /** By `index/term`. */
  readonly identities = new Map<string, Identity>()
  /** Votes that others were told of, by `server/term`. */
  readonly votes = new Map<string, string>()
  readonly sent = new Map<string, Sent>()
  /** Events so far. */
  now = 0

  constructor(cluster: ClusterEvent, blame: (rule: RuleName, detail: string) => void) {
    this.cluster = cluster
    this.blame = blame
  }

  server(id: string): ServerModel {
    return at(this.servers, id, () => new ServerModel(id))
  }

  /**
   * A majority of each half of the newest configuration in the log of that server, committed or not (thesis 4.1). What
   * it counted in a turn it may have counted before the entries of that turn.
   */
  isQuorum(server: ServerModel, ids: ReadonlySet<string>): boolean {
    const logs = [server.logBefore, server.accepted.log]
    return logs.some((log) => isMajority(votersOf(log, this.cluster), ids))
  }

  leads(server: ServerModel, term: number): boolean {
    return this.leaders.get(term)?.server === server.id
  }

  /** What else is known of an entry of which a boot tells the term only. */
  knownAt(index: number, entry: Entry): Entry {
    const { configuration } = this.identities.get(`${index}/${entry.term}`) ?? {}
    return configuration === undefined ? entry : { ...entry, configuration }
  }

  /** 5.3: an index and a term name one entry, and the term of the one before it; by induction all entries before it. */
  identify(index: number, entry: Entry, termBefore: number, who: string): void {
    const name = `${index}/${entry.term}`
    const known = this.identities.get(name)
    if (known === undefined) {
      const { hash, configuration } = entry
      this.identities.set(name, { hash, termBefore, ...(configuration === undefined ? {} : { configuration }) })
      return
    }
    const isSame = known.hash === null || entry.hash === null || known.hash === entry.hash
    if (!isSame) this.blame('log matching', `${who}: entry ${name} is ${entry.hash}, elsewhere it is ${known.hash}`)
    if (known.termBefore !== termBefore) {
      this.blame('log matching', `${who}: entry ${name} after term ${termBefore}, elsewhere after ${known.termBefore}`)
    }
    known.hash ??= entry.hash
  }
}

export function at<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  const known = map.get(key)
  if (known !== undefined) return known
  const made = make()
  map.set(key, made)
  return made
}

/** The term at a place of a log; 0 before the first entry, undefined beyond the last. */
export function termAt(log: readonly Entry[], index: number): number | undefined {
  return index === 0 ? 0 : log[index - 1]?.term
}

export function lastTermOf(log: readonly Entry[]): number {
  return log.at(-1)?.term ?? 0
}

/** Those of the newest configuration in a log, committed or not (thesis 4.1). */
export function votersOf(log: readonly Entry[], cluster: Voters): Voters {
  return log.findLast(({ configuration }) => configuration !== undefined)?.configuration ?? cluster
}

export function membersOf({ voters, outgoing }: Voters): readonly string[] {
  return [...voters, ...(outgoing ?? [])]
}

/** Of each half. */
export function isMajority({ voters, outgoing }: Voters, ids: ReadonlySet<string>): boolean {
  const halves = [voters, ...(outgoing === null ? [] : [outgoing])]
  return halves.every((half) => half.filter((id) => ids.has(id)).length > half.length / 2)
}

export function formatVoters({ voters, outgoing }: Voters): string {
  const sorted = (ids: readonly string[]): string => `[${[...ids].sort().join(', ')}]`
  return outgoing === null ? sorted(voters) : `${sorted(voters)} beside ${sorted(outgoing)}`
}

export function isSameVoters(a: Voters, b: Voters): boolean {
  return formatVoters(a) === formatVoters(b)
}

export function isSameEntry(a: Entry, b: Entry): boolean {
  return a.term === b.term && (a.hash === null || b.hash === null || a.hash === b.hash)
}

/** What the stable storage holds after one more step; of an installation, with the log that it leaves. */
export function afterStep(stable: Stable, step: WriteStep, log = stable.log): Stable {
  switch (step.step) {
    case 'append': {
      const added: readonly Entry[] = entriesIn(step.entries)
      return { ...stable, log: [...stable.log, ...added] }
    }
    case 'truncate':
      return { ...stable, log: stable.log.slice(0, step.from - 1) }
    case 'state':
      return { ...stable, term: step.term, votedFor: step.votedFor, commit: step.commit }
    case 'compact':
      return { ...stable, first: step.first, snapshot: step.snapshot }
    case 'install':
      return { ...stable, log, first: step.snapshot.index + 1, snapshot: step.snapshot }
  }
}
