/**
 * Each invariant of stage and simulator, shown to bite: puppets in the place of servers do one forbidden thing, and it
 * is told by its number. What is allowed before it is not found fault with, or the case would end there.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { AppendEntries, AppendEntriesResult, Input, PersistTicket, RaftCore, Ready } from '#balsa/core/index.js'
import { invariantsOf } from '#balsa/testing/invariants/invariants.js'
import { Truth } from '#balsa/testing/invariants/truth.js'
import { Violation } from '#balsa/testing/invariants/violation.js'
import { Observers } from '#balsa/testing/observers.js'
import type { ServerView } from '#balsa/testing/observer.js'
import { earlierEntry, makeBlock, StageEntries } from '#balsa/testing/stage/blocks.js'
import { StageDisk } from '#balsa/testing/stage/stage-disk.js'
import { votersOnly } from '#balsa/testing/stage/stage.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block, Role } from '#balsa/types.js'
import { appendEntries, conflict, matched, preVoteResult, requestVote, vote } from '../support/messages.js'

const IDS = ['s1', 's2', 's3']
const TURN: Input = { type: 'turn', now: 0 }

/** What is looked at of a core. */
class PuppetCore {
  role: Role = 'follower'
  term = 1
  votedFor: string | null = null
  configuration = votersOnly(IDS)
  readonly peers = new Map()
  readonly log: PuppetLog
  /** Everything that it has accepted is submitted. */
  get tickets(): { submittedIndex: number; hardStateIsDurable: boolean } {
    return { submittedIndex: this.log.lastIndex, hardStateIsDurable: true }
  }

  constructor(terms: readonly number[]) {
    this.log = new PuppetLog(terms)
  }
}

class PuppetLog {
  readonly firstIndex = 1
  readonly openedIndex = 0
  readonly tailFirst = 1
  configurationIndex = 1
  commitIndex = 0
  appliedIndex = 0
  durableIndex = 0
  terms: readonly number[]

  constructor(terms: readonly number[]) {
    this.terms = terms
  }

  get lastIndex(): number {
    return this.terms.length
  }

  get settledIndex(): number {
    return Math.max(this.commitIndex, 1)
  }

  get knownCommitIndex(): number {
    return this.commitIndex
  }

  get lastTerm(): number {
    return this.termAt(this.lastIndex) ?? 0
  }

  get termRuns(): readonly { first: number; term: number }[] {
    return this.terms.flatMap((term, at) => (term === this.terms[at - 1] ? [] : [{ first: at + 1, term }]))
  }

  termAt(index: number): number | null {
    return this.terms[index - 1] ?? null
  }
}

class Puppet {
  readonly id: string
  readonly ordinal: number
  readonly puppet: PuppetCore
  disk: StageDisk
  readonly boot = 1
  halted = false
  readonly epoch = 0

  constructor(ordinal: number, terms: readonly number[]) {
    this.id = IDS[ordinal] ?? ''
    this.ordinal = ordinal
    this.puppet = new PuppetCore(terms)
    this.disk = diskOf(this.id, terms, 1)
  }

  get core(): RaftCore {
    return this.puppet as unknown as RaftCore
  }
}

function diskOf(id: string, terms: readonly number[], term: number, votedFor: string | null = null): StageDisk {
  const entries = terms.map((each, at) => earlierEntry(at + 1, each))
  return new StageDisk(id, entries, { term: termOf(term), votedFor, commitIndex: logIndex(1) })
}

/** Three puppets with one committed entry of term 1, and all invariants. */
class Theatre {
  readonly truth = new Truth(new StageEntries())
  readonly servers: readonly Puppet[]
  readonly watch: Observers
  readonly s1: Puppet
  readonly s2: Puppet
  readonly s3: Puppet

  constructor() {
    this.s1 = new Puppet(0, [1])
    this.s2 = new Puppet(1, [1])
    this.s3 = new Puppet(2, [1])
    this.servers = [this.s1, this.s2, this.s3]
    this.watch = new Observers(invariantsOf(this.truth, (): readonly ServerView[] => this.servers))
    for (const server of this.servers) this.watch.booted(server)
  }

  step(server: Puppet, change: Partial<PuppetCore>, input = TURN): void {
    Object.assign(server.puppet, change)
    this.watch.stepped(server, server.core, input)
  }

  /** An input after which the log stands elsewhere. */
  move(server: Puppet, change: Partial<PuppetLog>): void {
    Object.assign(server.puppet.log, change)
    this.watch.stepped(server, server.core, TURN)
  }

  decide(server: Puppet, ...operations: PersistTicket['operations']): void {
    const ticket = operations.length === 0 ? null : { ticket: 1, operations }
    this.watch.decided(server, server.core, { ticket, events: [] as Ready['events'] } as Ready)
  }

  /** It accepts entries, and has them durable. */
  write(server: Puppet, ...blocks: readonly Block[]): void {
    for (const block of blocks) {
      server.puppet.log.terms = [...server.puppet.log.terms, ...payloadsOf(block).map(() => block.term)]
      this.decide(server, { type: 'append', block })
      server.disk.durable.apply({ type: 'append', block })
    }
  }

  /** By the votes of the two others, with its first entry written; each of them has that term and vote on its disk. */
  lead(server: Puppet, term: number): void {
    for (const voter of this.servers) {
      const hardState = { term: termOf(term), votedFor: server.id, commitIndex: logIndex(1) }
      voter.disk.durable.apply({ type: 'hardState', hardState })
      this.step(voter, { term, votedFor: server.id })
      if (voter !== server) this.watch.sent(voter, server.id, vote(term, true))
    }
    server.puppet.log.terms = [...server.puppet.log.terms, term]
    this.step(server, { role: 'leader' })
    server.puppet.log.terms = server.puppet.log.terms.slice(0, -1)
    this.write(server, makeBlock(server.puppet.log.lastIndex + 1, term, [0]))
  }

  /** It makes a configuration of these voters. */
  configure(server: Puppet, index: number, ids: readonly string[]): void {
    const { log } = server.puppet
    this.write(server, makeBlock(index, server.puppet.term, [0]))
    log.configurationIndex = index
    this.step(server, { configuration: votersOnly(ids) })
  }

  send(server: Puppet, message: Parameters<Observers['sent']>[2], to = 's3'): void {
    this.watch.sent(server, to, message)
  }

  apply(server: Puppet, last: number, ids: readonly number[] = []): void {
    const commands = ids.map((id, at) => ({ index: logIndex(last - ids.length + 1 + at), term: termOf(2), id }))
    this.watch.applied(server, commands, logIndex(last), 0)
  }

  /** The entry that was there from the beginning. */
  applyFirst(server: Puppet, hash: number): void {
    const { payload } = earlierEntry(1, 1)
    this.watch.applied(server, [{ index: logIndex(1), term: termOf(1), id: payload }], logIndex(1), hash)
  }

  /** s1 leads term 2; entry 3, the command 7, is everywhere and committed. */
  committed(): void {
    this.lead(this.s1, 2)
    this.write(this.s1, makeBlock(3, 2, [7]))
    for (const server of [this.s2, this.s3]) this.write(server, makeBlock(2, 2, [0]), makeBlock(3, 2, [7]))
    for (const server of this.servers) this.move(server, { commitIndex: 3 })
  }
}

function payloadsOf({ first, last }: Block): readonly number[] {
  return Array.from({ length: last - first + 1 }, (_, at) => first + at)
}

const heartbeat = (term: number, prev: `${number}/${number}`, commit = 0): AppendEntries =>
  appendEntries(term, prev, [], commit)

type Case = readonly [invariant: number, says: RegExp, act: (theatre: Theatre) => void]

const cases: readonly Case[] = [
  [0, /s2 acts before it has booted/, ({ watch, s2 }) => (watch.forgot(s2), watch.stepped(s2, s2.core, TURN))],
  [1, /term 2 has two leaders, s1 and s2/, (on) => (on.lead(on.s1, 2), on.step(on.s2, { role: 'leader' }))],
  [
    1,
    /s1 leads term 2 by the votes of s1$/,
    (on) => {
      on.s1.disk = diskOf('s1', [1], 2, 's1')
      on.step(on.s1, { term: 2, votedFor: 's1', role: 'leader' })
    },
  ],
  [2, /s1 goes from term 2 back to 1/, (on) => (on.step(on.s1, { term: 2 }), on.step(on.s1, { term: 1 }))],
  [2, /s1: commit goes back to 0/, (on) => (on.move(on.s1, { commitIndex: 1 }), on.move(on.s1, { commitIndex: 0 }))],
  [2, /s1: applied goes back to 0/, (on) => (on.move(on.s1, { appliedIndex: 1 }), on.move(on.s1, { appliedIndex: 0 }))],
  [
    2,
    /s1 starts in term 1 and has told of term 2/,
    (on) => {
      on.s1.disk = diskOf('s1', [1], 2)
      on.send(on.s1, preVoteResult(2, false))
      on.s1.disk = diskOf('s1', [1], 1)
      on.watch.booted(on.s1)
    },
  ],
  [
    2,
    /s2 starts with 1 entries and has acknowledged 3/,
    (on) => {
      on.committed()
      on.send(on.s2, matched(2, 3), 's1')
      on.s2.disk = diskOf('s2', [1], 2)
      on.watch.booted(on.s2)
    },
  ],
  [
    3,
    /s1 votes for s2 and s3 in term 2/,
    (on) => (on.step(on.s1, { term: 2, votedFor: 's2' }), on.step(on.s1, { votedFor: 's3' })),
  ],
  [
    3,
    /s3 votes in term 2 for s1 and s2/,
    (on) => {
      for (const candidate of ['s1', 's2']) {
        on.s3.disk = diskOf('s3', [1], 2, candidate)
        on.send(on.s3, vote(2, true), candidate)
      }
    },
  ],
  [
    3,
    /s1 has forgotten, and sends PreVoteResult to s3/,
    ({ watch, s1 }) => (watch.forgot(s1), watch.booted(s1), watch.sent(s1, 's3', preVoteResult(1, false))),
  ],
  [4, /s1 appends 3 behind 1/, (on) => on.decide(on.s1, { type: 'append', block: makeBlock(3, 1, [7]) })],
  [
    4,
    /s2 accepts another entry 2 of term 1 than is known/,
    (on) => (on.write(on.s1, makeBlock(2, 1, [7])), on.write(on.s2, makeBlock(2, 1, [8]))),
  ],
  [4, /s1 sends prev 2\/9, its own is 2/, (on) => (on.lead(on.s1, 2), on.send(on.s1, heartbeat(2, '2/9')))],
  [4, /s1 sends prev 3\/2, its own is undefined/, (on) => (on.lead(on.s1, 2), on.send(on.s1, heartbeat(2, '3/2')))],
  [
    5,
    /s2 commits 1 of term 9, which was never written/,
    (on) => ((on.s2.puppet.log.terms = [9]), on.move(on.s2, { commitIndex: 1 })),
  ],
  [
    5,
    /s2 commits 1 of term 2, committed is term 1/,
    (on) => {
      on.s2.disk = diskOf('s2', [2], 2)
      on.watch.booted(on.s2)
      Object.assign(on.s2.puppet, { term: 2, log: new PuppetLog([2]) })
      on.move(on.s2, { commitIndex: 1 })
    },
  ],
  [
    5,
    /s1 has another committed entry at 1/,
    (on) => {
      on.move(on.s1, { commitIndex: 1 })
      Object.assign(on.s1.puppet, { term: 9, log: Object.assign(new PuppetLog([9]), { commitIndex: 1 }) })
      for (let steps = 0; steps < 1000; steps += 1) on.step(on.s1, {})
    },
  ],
  [
    6,
    /s1 votes for s2, whose log ends at 9\/0: its own ends at 1\/1/,
    (on) => {
      const message = requestVote(2, '9/0')
      on.step(on.s1, { term: 2, votedFor: 's2' }, { type: 'request', from: 's2', link: 0, message })
    },
  ],
  [
    6,
    /leader s1 of term 2 lacks the committed entry 1 of term 1/,
    (on) => ((on.s1.puppet.log.terms = []), on.lead(on.s1, 2)),
  ],
  [7, /s2 commits 2, no leader has committed more than 1/, (on) => on.move(on.s2, { commitIndex: 2 })],
  [7, /s1 commits 2 of term 2, durable only on s1$/, (on) => (on.lead(on.s1, 2), on.move(on.s1, { commitIndex: 2 }))],
  [
    7,
    /s1 commits 2 of term 1 by counting, in term 2/,
    (on) => {
      for (const server of on.servers) on.write(server, makeBlock(2, 1, [7]))
      on.lead(on.s1, 2)
      on.move(on.s1, { commitIndex: 2 })
    },
  ],
  [
    7,
    /s1 sends a heartbeat with commit 1 above prev 0/,
    (on) => (on.lead(on.s1, 2), on.send(on.s1, heartbeat(2, '0/0', 1))),
  ],
  [8, /s1 applies 1 \.\. 2, committed are 1/, (on) => on.apply(on.s1, 2)],
  [8, /s1 applies up to 1 after 1/, (on) => (on.applyFirst(on.s1, 5), on.applyFirst(on.s1, 5))],
  [8, /applies command 8 of term 2 at 3, committed is 7/, (on) => (on.committed(), on.apply(on.s1, 3, [8]))],
  [8, /s1 applies 0 commands in 1 \.\. 3, committed are 2/, (on) => (on.committed(), on.apply(on.s1, 3, []))],
  [
    8,
    /s2: the state machine's hash at 1 is 6, elsewhere it was 5/,
    (on) => (on.applyFirst(on.s1, 5), on.applyFirst(on.s2, 6)),
  ],
  [
    9,
    /s1: applied 1, committed 0, durable 1, last 1/,
    (on) => {
      Object.assign(on.s1.puppet.log, { appliedIndex: 1, durableIndex: 1 })
      on.watch.turned(on.s1, on.s1.core)
    },
  ],
  [9, /s1 ends at 2, its writes at 1/, (on) => ((on.s1.puppet.log.terms = [1, 1]), on.decide(on.s1))],
  [
    9,
    /s1 applies 2 before it is durable/,
    (on) => {
      on.s1.puppet.log.terms = [1, 1]
      on.decide(on.s1, { type: 'append', block: makeBlock(2, 1, [7]) })
      on.apply(on.s1, 2)
    },
  ],
  [
    9,
    /s2 applies 3: durable is term 1, committed is term 2/,
    (on) => {
      on.write(on.s2, makeBlock(2, 1, [8, 9]))
      on.lead(on.s1, 2)
      on.write(on.s1, makeBlock(3, 2, [7]))
      on.write(on.s3, makeBlock(2, 2, [0]), makeBlock(3, 2, [7]))
      on.move(on.s1, { commitIndex: 3 })
      on.applyFirst(on.s2, 5)
      on.apply(on.s2, 3, [7])
    },
  ],
  [10, /s1 sends PreVoteResult of term 2, durable is term 1/, (on) => on.send(on.s1, preVoteResult(2, true))],
  [10, /s1 asks for votes in term 1 before its own is durable/, (on) => on.send(on.s1, requestVote(1, '1/1'))],
  [10, /s1 grants s3 its vote in term 1 before that is durable/, (on) => on.send(on.s1, vote(1, true))],
  [
    10,
    /s1 leads term 2 before its vote for itself is durable/,
    (on) => on.step(on.s1, { term: 2, votedFor: 's1', role: 'leader' }),
  ],
  [
    10,
    /s2 sends a conflict with match 1/,
    (on) => on.send(on.s2, { ...conflict(1, '1/1'), matchIndex: logIndex(1) } satisfies AppendEntriesResult),
  ],
  [10, /s2 acknowledges 2 before it is durable/, (on) => (on.lead(on.s1, 2), on.send(on.s2, matched(2, 2), 's1'))],
  [
    10,
    /s2 acknowledges 2 to term 2: durable is term 1, the leader's is 2/,
    (on) => (on.lead(on.s1, 2), on.write(on.s2, makeBlock(2, 1, [7])), on.send(on.s2, matched(2, 2), 's1')),
  ],
  [
    10,
    /s2 sends AppendEntries of term 2, which s1 leads/,
    (on) => (on.lead(on.s1, 2), on.send(on.s2, heartbeat(2, '1/1'))),
  ],
  [10, /s1 sends commit 2 before it is so/, (on) => (on.lead(on.s1, 2), on.send(on.s1, heartbeat(2, '2/2', 2)))],
  [
    12,
    /s1 truncates from 1, committed up to 1/,
    (on) => {
      on.move(on.s1, { commitIndex: 1 })
      on.step(on.s1, {})
      on.decide(on.s1, { type: 'truncateSuffix', from: logIndex(1) })
    },
  ],
  [
    12,
    /s1 truncates from 2, where nothing conflicts/,
    (on) => (on.write(on.s1, makeBlock(2, 1, [7])), on.decide(on.s1, { type: 'truncateSuffix', from: logIndex(2) })),
  ],
  [
    12,
    /s1 replaces the committed entry 1/,
    (on) => {
      on.move(on.s1, { commitIndex: 1 })
      const block = makeBlock(1, 2, [7])
      on.decide(on.s1, { type: 'truncateSuffix', from: logIndex(1) }, { type: 'append', block })
    },
  ],
  [
    12,
    /s1 says that s2 has lost what it acknowledged up to 3, and its disk holds it/,
    (on) => {
      on.committed()
      const accused = { type: 'regressed', peer: 's2', acknowledged: logIndex(3), lastIndex: logIndex(1) } as const
      on.watch.decided(on.s1, on.s1.core, { ticket: null, events: [accused] as Ready['events'] } as Ready)
    },
  ],
  [
    11,
    /s1 makes configuration 5, and 4 is not committed, only 3 is/,
    (on) => (on.committed(), on.configure(on.s1, 4, ['s1', 's2']), on.configure(on.s1, 5, ['s1'])),
  ],
  [
    11,
    /s1 makes configuration 3 in term 2, and has committed nothing of it, only 1/,
    (on) => (on.lead(on.s1, 2), on.move(on.s1, { commitIndex: 1 }), on.configure(on.s1, 3, ['s1', 's2'])),
  ],
  [
    11,
    /s1 goes from configuration 1 to 4: two quorums of them share nobody/,
    (on) => (on.committed(), on.configure(on.s1, 4, ['s1', 's8', 's9'])),
  ],
  [
    17,
    /s1 sends PreVoteResult after it has failed/,
    (on) => ((on.s1.halted = true), on.send(on.s1, preVoteResult(1, true))),
  ],
  [
    18,
    /s1 sends 3 where 2 must follow/,
    (on) => (on.lead(on.s1, 2), on.send(on.s1, appendEntries(2, '1/1', [makeBlock(3, 2, [7])]))),
  ],
  [
    18,
    /s1 sends 2 \.\. 2, not its entries/,
    (on) => (on.lead(on.s1, 2), on.send(on.s1, appendEntries(2, '1/1', [makeBlock(2, 2, [7])]))),
  ],
  [
    18,
    /s1 sends 2 \.\. 2, not its entries/,
    (on) => {
      on.lead(on.s1, 2)
      const block = makeBlock(2, 2, [0])
      // A bit of its index flips, and nothing else changes.
      block.data[0] = (block.data[0] ?? 0) ^ 1
      on.send(on.s1, appendEntries(2, '1/1', [block]))
    },
  ],
]

const test = suite('the invariants of stage and simulator')

for (const [invariant, says, act] of cases) {
  test(`${invariant}: ${says.source}`, () => {
    const theatre = new Theatre()
    let found: unknown = null
    try {
      act(theatre)
    } catch (error) {
      found = error
    }
    assert.instance(found, Violation, String(found))
    const { invariant: number, message } = found as Violation
    assert.match(message, says)
    assert.is(number, invariant)
  })
}

test('find no fault with an election, a replicated command and its application', () => {
  const theatre = new Theatre()
  theatre.committed()
  for (const server of theatre.servers) {
    theatre.applyFirst(server, 5)
    theatre.apply(server, 3, [7])
    theatre.watch.turned(server, server.core)
  }
})

test.run()
