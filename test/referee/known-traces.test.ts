/**
 * The referee proven before it judges anything: traces that keep every rule, and traces that break exactly one, each of
 * which must be found by its name and nothing else.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { judgeTrace } from './referee.js'
import { RULES } from './rules.js'
import type { RuleName } from './rules.js'
import { appendStep, stateStep, Story } from './story.js'
import type { StoryOptions } from './story.js'
import { formatTrace, parseTrace } from './trace-format.js'
import type { Message } from './trace-format.js'

type Telling = (story: Story) => unknown

interface KnownTrace {
  readonly name: string
  readonly options?: StoryOptions
  readonly tell: Telling
}

/** s leads term 2 with entry 2, which all have; entry 2 is committed. */
const settled: Telling = (story) => {
  story.elect('a', 2, 'b').persisted('a').turn('a').replicate('a', 'b', 2).turn('a', { commit: 2 })
  return story.tellCommit('a', 'b').replicate('a', 'c', 2).turn('c', { commit: 2 })
}

/** As settled; a has applied entry 2, and discards entry 1 behind a snapshot. */
const compacted: Telling = (story) => {
  settled(story)
  story.apply('a', 2).compact('a', 2).persisted('a')
}

/** As settled; a and b have entries 3 and 4, which are committed, and a discards all but the last behind a snapshot. */
const ahead: Telling = (story) => {
  settled(story)
  story.propose('a').propose('a').persisted('a').turn('a').replicate('a', 'b', 3).turn('a', { commit: 4 })
  story.apply('a', 4).compact('a', 4).persisted('a')
}

const preVote = (proposedTerm: number, round: number): Message => {
  return { type: 'PreVote', proposedTerm, lastIndex: 1, lastTerm: 1, round }
}

const preGrant = (round: number): Message => ({ type: 'PreVoteResult', term: 1, granted: true, round })

const good: readonly KnownTrace[] = [
  { name: 'a cluster that only boots', tell: () => undefined },
  {
    name: 'an election, an entry on all servers, applied everywhere',
    tell: (story) => {
      settled(story)
      story.apply('a', 2).apply('b', 2).apply('c', 2)
    },
  },
  {
    name: 'an entry of an older term that is committed by one of the own term (figure 8, corrected)',
    options: { logs: { a: [1, 2], b: [1, 2], c: [1] }, term: 3 },
    tell: (story) => {
      story.elect('a', 4, 'c').persisted('a').turn('a').replicate('a', 'c', 2).turn('a', { commit: 3 })
      story.tellCommit('a', 'c').apply('c', 3)
    },
  },
  {
    name: 'entries that conflict and are replaced',
    options: { logs: { b: [1, 2, 2] }, term: 2 },
    tell: (story) =>
      story.elect('a', 3, 'c').persisted('a').turn('a').replicate('a', 'b', 2, 2).turn('a', { commit: 2 }),
  },
  {
    name: 'entries that are replaced before they are durable, whose write is reported late',
    options: { voters: ['a', 'b', 'c', 'd', 'e'] },
    tell: (story) => {
      story.elect('a', 2, 'd', 'e').pass('a', 'b', story.append('a', 2)).take('a', 'b', 2).turn('b', { durable: 1 })
      story.ask('a', 'c').state('c', 2, null).campaign('c', 3)
      story.ask('c', 'd').grant('d', 'c').ask('c', 'e').grant('e', 'c').lead('c')
      story.pass('c', 'b', story.append('c', 2)).take('c', 'b', 2, 2).turn('b')
      story.tell({ event: 'persisted', server: 'b', write: 1 }).turn('b').persisted('b').turn('b')
    },
  },
  {
    name: 'a candidate that is refused and a vote that arrives twice',
    tell: (story) => {
      story.campaign('a', 2).ask('a', 'b').grant('b', 'a').ask('a', 'c')
      story.receive('b', 'a', { type: 'RequestVoteResult', term: 2, granted: true })
      story.state('c', 2, null).pass('c', 'a', { type: 'RequestVoteResult', term: 2, granted: false }).lead('a')
    },
  },
  {
    name: 'messages that arrive twice, late, or never',
    tell: (story) => {
      settled(story)
      const append = story.append('a', 2, 0)
      story.send('a', 'b', append).receive('a', 'b', append).turn('b').receive('a', 'b', append).turn('b')
      story.send('a', 'c', story.append('a', 3))
    },
  },
  {
    name: 'a write that reached the disk although nobody was told, and one that did not',
    tell: (story) => {
      settled(story)
      story.propose('a').crash('a').of('a').log.length = 2
      story.restart('a').elect('b', 3, 'c').persisted('b').turn('b')
      story.propose('b').crash('b').restart('b')
    },
  },
  {
    name: 'a read that is confirmed by a round',
    tell: (story) => {
      settled(story)
      story.read('a', 1).roundOf('a', 'c').answer('a', 1, 2)
    },
  },
  {
    name: 'a read that is refused, and one that is never answered',
    tell: (story) => {
      settled(story)
      story.read('b', 1).answer('b', 1, null).read('a', 1)
    },
  },
  {
    name: 'a pre-vote, an election after it, and a pre-vote that comes to nothing',
    options: { preVote: true },
    tell: (story) => {
      story.turn('a', { role: 'preCandidate' }).pass('a', 'b', preVote(2, 1)).turn('b').pass('b', 'a', preGrant(1))
      story.elect('a', 2, 'b')
      story.turn('c', { role: 'preCandidate' }).pass('c', 'b', preVote(2, 1)).turn('b')
      story.pass('b', 'c', { type: 'PreVoteResult', term: 2, granted: false, round: 1 }).state('c', 2, null)
    },
  },
  {
    name: 'a log that is compacted, and a restart behind the snapshot',
    tell: (story) => {
      compacted(story)
      story.crash('a').restart('a').restore('a', 2).elect('b', 3, 'c').persisted('b').turn('b')
      story.replicate('b', 'a', 3).turn('b', { commit: 3 }).tellCommit('b', 'a').apply('a', 3)
    },
  },
  {
    name: 'a snapshot that is installed in the place of a log, and entries behind it',
    tell: (story) => {
      ahead(story)
      story.install('c', story.snapshotOf('a', 4)).restore('c', 4)
      story.propose('a').persisted('a').turn('a').replicate('a', 'c', 5).turn('a', { commit: 5 })
      story.tellCommit('a', 'c').apply('c', 5)
    },
  },
  {
    name: 'a snapshot that is installed over a log that has its last entry, and keeps what follows',
    tell: (story) => {
      ahead(story)
      story.propose('a').persisted('a').turn('a').replicate('a', 'c', 3)
      story.install('c', story.snapshotOf('a', 4), true).restore('c', 4).turn('a', { commit: 5 })
      story.tellCommit('a', 'c').apply('c', 5)
    },
  },
  {
    name: 'a snapshot of a term that its receiver has not heard of',
    tell: (story) => {
      story.elect('a', 2, 'b').persisted('a').turn('a').replicate('a', 'b', 2).turn('a', { commit: 2 })
      story.apply('a', 2).compact('a', 2).install('c', story.snapshotOf('a', 2)).restore('c', 2)
      story.crash('c').restart('c').restore('c', 2)
    },
  },
  {
    name: 'a voter more, and a quorum of four from then on; three others by a joint configuration',
    options: { voters: ['a', 'b', 'c', 'd', 'e'] },
    tell: (story) => {
      story.elect('a', 2, 'b', 'c').persisted('a').turn('a')
      story.replicate('a', 'b', 2).replicate('a', 'c', 2).turn('a', { commit: 2 })
      story.change('a', ['a', 'b', 'c', 'd']).persisted('a').turn('a')
      story.replicate('a', 'b', 3).replicate('a', 'c', 3).turn('a', { commit: 3 })
      story.change('a', ['c', 'd', 'e'], ['a', 'b', 'c', 'd']).persisted('a').turn('a')
      for (const id of ['b', 'c']) story.replicate('a', id, 4)
      story.replicate('a', 'd', 2).turn('a', { commit: 4 }).change('a', ['c', 'd', 'e']).persisted('a').turn('a')
      story.replicate('a', 'c', 5).replicate('a', 'd', 5).turn('a', { commit: 5 })
    },
  },
  {
    name: 'traces of each server by itself, put into one order',
    options: { order: 'perServer' },
    tell: (story) => {
      ahead(story)
      story.install('c', story.snapshotOf('a', 4)).restore('c', 4)
      story.read('a', 1).roundOf('a', 'c').answer('a', 1, 4)
      const [cluster, ...events] = story.trace
      const ofServer = (id: string): typeof events =>
        events.filter((event) =>
          'from' in event
            ? (event.event === 'send' ? event.from : event.to) === id
            : 'server' in event && event.server === id,
        )
      story.trace.splice(0, Infinity, ...(cluster === undefined ? [] : [cluster]), ...['c', 'b', 'a'].flatMap(ofServer))
    },
  },
]

const bad: readonly (KnownTrace & { readonly rule: RuleName })[] = [
  {
    rule: 'election safety',
    name: 'a second leader of a term',
    tell: (story) => story.elect('a', 2, 'b').ask('a', 'c').state('c', 2, null).turn('c', { role: 'leader' }),
  },
  {
    rule: 'election safety',
    name: 'a server that sends entries in a term that another one leads',
    tell: (story) => {
      story.elect('a', 2, 'b').ask('a', 'c').state('c', 2, null)
      story.send('c', 'b', { ...story.append('c', 2) })
    },
  },
  {
    rule: 'election majority',
    name: 'a leader with its own vote only',
    tell: (story) => story.campaign('a', 2).turn('a', { role: 'leader' }),
  },
  {
    rule: 'election majority',
    name: 'one voter that is counted twice, of five',
    options: { voters: ['a', 'b', 'c', 'd', 'e'] },
    tell: (story) => {
      story.campaign('a', 2).ask('a', 'b').grant('b', 'a')
      story.receive('b', 'a', { type: 'RequestVoteResult', term: 2, granted: true }).turn('a', { role: 'leader' })
    },
  },
  {
    rule: 'election majority',
    name: 'votes of an older term that are counted',
    tell: (story) =>
      story.campaign('a', 2).ask('a', 'b').grant('b', 'a').campaign('a', 3).turn('a', { role: 'leader' }),
  },
  {
    rule: 'election majority',
    name: 'the own vote counted before it is durable',
    tell: (story) => {
      story.campaign('a', 2).ask('a', 'b').ask('a', 'c').grant('b', 'a').write('a', stateStep(3, 'a'))
      story.turn('a', { role: 'leader' })
    },
  },
  {
    rule: 'one vote per term',
    name: 'a second vote in a term',
    tell: (story) => {
      story.campaign('a', 2).campaign('c', 2).ask('a', 'b').grant('b', 'a').ask('c', 'b').state('b', 2, 'c')
    },
  },
  {
    rule: 'one vote per term',
    name: 'a vote that is forgotten without a new term',
    tell: (story) => story.campaign('a', 2).ask('a', 'b').grant('b', 'a').state('b', 2, null),
  },
  {
    rule: 'vote only when asked',
    name: 'a vote for a candidate that did not ask',
    tell: (story) => story.campaign('a', 2).ask('a', 'b').state('b', 2, 'c'),
  },
  {
    rule: 'vote for up-to-date logs',
    name: 'a vote for a candidate with a shorter log',
    options: { logs: { b: [1, 1] } },
    tell: (story) => story.campaign('a', 2).ask('a', 'b').state('b', 2, 'a'),
  },
  {
    rule: 'vote for up-to-date logs',
    name: 'a vote for a candidate with a longer log of an older term',
    options: { logs: { a: [1, 1, 1], b: [1, 2] }, term: 2 },
    tell: (story) => story.campaign('a', 3).ask('a', 'b').state('b', 3, 'a'),
  },
  {
    rule: 'candidates tell their log',
    name: 'a candidate that claims more than it has',
    tell: (story) => {
      story.campaign('a', 2).send('a', 'b', { type: 'RequestVote', term: 2, lastIndex: 5, lastTerm: 1 })
    },
  },
  {
    rule: 'vote durable before it leaves',
    name: 'a grant before the vote is durable',
    tell: (story) => {
      story.campaign('a', 2).ask('a', 'b').write('b', stateStep(2, 'a')).turn('b')
      story.send('b', 'a', { type: 'RequestVoteResult', term: 2, granted: true })
    },
  },
  {
    rule: 'vote durable before it leaves',
    name: 'a request for votes before the own vote is durable',
    tell: (story) => {
      story.write('a', stateStep(2, 'a')).turn('a', { role: 'candidate' })
      story.send('a', 'b', { type: 'RequestVote', term: 2, lastIndex: 1, lastTerm: 1 })
    },
  },
  {
    rule: 'vote durable before it leaves',
    name: 'a grant that was never a vote',
    tell: (story) => {
      story.campaign('a', 2).ask('a', 'b').state('b', 2, null)
      story.send('b', 'a', { type: 'RequestVoteResult', term: 2, granted: true })
    },
  },
  {
    rule: 'term durable before it leaves',
    name: 'a refusal that tells a term which is not durable',
    tell: (story) => {
      story.campaign('a', 2).ask('a', 'b').write('b', stateStep(2, null)).turn('b')
      story.send('b', 'a', { type: 'RequestVoteResult', term: 2, granted: false })
    },
  },
  {
    rule: 'answers tell the current term',
    name: 'a grant that was held back while the term grew',
    tell: (story) => {
      story.campaign('a', 2).ask('a', 'b').state('b', 2, 'a').campaign('c', 2).campaign('c', 3).ask('c', 'b')
      story.state('b', 3, null).send('b', 'a', { type: 'RequestVoteResult', term: 2, granted: true })
    },
  },
  {
    rule: 'terms only grow',
    name: 'a server that goes back to an older term',
    options: { logs: { a: [1] } },
    tell: (story) => story.campaign('a', 2).state('a', 1, null),
  },
  {
    rule: 'terms only grow',
    name: 'an entry of a term that its server has not entered',
    tell: (story) => {
      story.elect('a', 2, 'b').pass('a', 'c', story.append('a', 2)).write('c', appendStep(2, 2)).turn('c')
    },
  },
  {
    rule: 'terms only grow',
    name: 'a server that begins with an entry of a term that it has not entered',
    options: { logs: { a: [1, 2] }, term: 1 },
    tell: () => undefined,
  },
  {
    rule: 'terms come from candidates',
    name: 'a follower that raises its term by itself',
    tell: (story) => story.state('b', 2, null),
  },
  {
    rule: 'terms come from candidates',
    name: 'a candidate that leaves out terms',
    tell: (story) => story.campaign('a', 7),
  },
  {
    rule: 'pre-vote changes nothing',
    name: 'a proposed term that is adopted',
    options: { preVote: true },
    tell: (story) => story.pass('a', 'b', preVote(2, 1)).state('b', 2, null),
  },
  {
    rule: 'pre-vote changes nothing',
    name: 'a pre-vote that is stored like a vote',
    options: { preVote: true, logs: { b: [1] } },
    tell: (story) => {
      story.pass('a', 'b', preVote(2, 1)).turn('b').pass('b', 'a', preGrant(1)).pass('b', 'a', preGrant(1))
      story.campaign('a', 2).ask('a', 'c').state('c', 2, null)
      story.pass('c', 'b', { type: 'RequestVoteResult', term: 2, granted: false }).state('b', 2, 'a')
    },
  },
  {
    rule: 'pre-vote majority',
    name: 'a candidacy without pre-votes',
    options: { preVote: true },
    tell: (story) => story.campaign('a', 2),
  },
  {
    rule: 'state is stable',
    name: 'a term that is nowhere written',
    tell: (story) => story.turn('b', { term: 2 }),
  },
  {
    rule: 'state is stable',
    name: 'an entry that is nowhere written',
    tell: (story) => story.elect('a', 2, 'b').turn('a', { lastIndex: 3 }),
  },
  {
    rule: 'restart from stable storage',
    name: 'a restart without its vote',
    tell: (story) => {
      story.campaign('a', 2).ask('a', 'b').grant('b', 'a').crash('b').of('b').votedFor = null
      story.restart('b')
    },
  },
  {
    rule: 'restart from stable storage',
    name: 'a restart without a durable entry',
    tell: (story) => {
      settled(story)
      story.crash('b').of('b').log.length = 1
      story.restart('b')
    },
  },
  {
    rule: 'restart from stable storage',
    name: 'a restart in which a deletion took place without the entries after it',
    options: { logs: { b: [1, 2, 2] }, term: 2 },
    tell: (story) => {
      story.elect('a', 3, 'c').persisted('a').turn('a').pass('a', 'b', story.append('a', 2)).take('a', 'b', 2, 2)
      story.turn('b').crash('b')
      story.of('b').log.length = 1
      story.restart('b')
    },
  },
  {
    rule: 'leader append-only',
    name: 'a leader that deletes its last entry',
    tell: (story) => story.elect('a', 2, 'b').propose('a').write('a', { step: 'truncate', from: 3 }).turn('a'),
  },
  {
    rule: 'leader sends its log',
    name: 'an entry that the leader does not have',
    tell: (story) => {
      const entries = [{ first: 2, term: 2, hashes: ['other'] }]
      story.elect('a', 2, 'b').send('a', 'b', { ...story.append('a', 2), entries })
    },
  },
  {
    rule: 'leader sends its log',
    name: 'a wrong term of the entry before',
    tell: (story) => story.elect('a', 2, 'b').send('a', 'b', { ...story.append('a', 2), prevTerm: 2 }),
  },
  {
    rule: 'entries come from leaders',
    name: 'a follower that appends what it was not sent',
    tell: (story) => story.elect('a', 2, 'b').state('b', 2, 'a').write('b', appendStep(2, 2)).turn('b'),
  },
  {
    rule: 'entries come from leaders',
    name: 'a former leader that goes on appending in the next term',
    tell: (story) => {
      story.elect('a', 2, 'b').persisted('a').turn('a').ask('a', 'c').state('c', 2, null).campaign('c', 3)
      story.ask('c', 'a').state('a', 3, null, { role: 'follower' }).write('a', appendStep(3, 2)).turn('a')
    },
  },
  {
    rule: 'log matching',
    name: 'the same entry after different ones',
    options: { logs: { a: [1, 1, 2], b: [1, 2, 2] } },
    tell: () => undefined,
  },
  {
    rule: 'log matching',
    name: 'two commands under one index and term, from before the trace',
    options: { logs: { a: [1, 2], b: [1, 2] }, term: 2 },
    tell: (story) => {
      story.elect('a', 3, 'c').ask('a', 'b').state('b', 3, null).send('a', 'c', story.append('a', 2))
      story.campaign('b', 4).ask('b', 'c').grant('c', 'b').lead('b')
      const [, ...entries] = story.append('b', 2).entries
      story.send('b', 'c', { ...story.append('b', 2), entries: [{ first: 2, term: 2, hashes: ['other'] }, ...entries] })
    },
  },
  {
    rule: 'log matching',
    name: 'an entry appended over a hole',
    tell: (story) => {
      story.elect('a', 2, 'b').propose('a').pass('a', 'b', story.append('a', 3)).write('b', appendStep(3, 2))
    },
  },
  {
    rule: 'truncate only at a conflict',
    name: 'a late, shorter AppendEntries that deletes what follows it',
    tell: (story) => {
      story.elect('a', 2, 'b').persisted('a').turn('a')
      const short = story.append('a', 2)
      story.propose('a').persisted('a').turn('a').replicate('a', 'b', 2).pass('a', 'b', short)
      story.write('b', { step: 'truncate', from: 3 }).turn('b')
    },
  },
  {
    rule: 'committed entries stay',
    name: 'a follower that deletes below its commit index',
    tell: (story) => {
      settled(story)
      story.write('b', { step: 'truncate', from: 2 }).turn('b')
    },
  },
  {
    rule: 'acknowledge only durable entries',
    name: 'an answer before the entry is durable',
    tell: (story) => {
      story.elect('a', 2, 'b').pass('a', 'b', story.append('a', 2)).take('a', 'b', 2).turn('b')
      story.send('b', 'a', story.matched('a', 2))
    },
  },
  {
    rule: 'acknowledge only durable entries',
    name: 'an answer to a repeated AppendEntries whose entries are still under way',
    tell: (story) => {
      story.elect('a', 2, 'b').pass('a', 'b', story.append('a', 2)).take('a', 'b', 2).turn('b')
      story.receive('a', 'b', story.append('a', 2)).turn('b').send('b', 'a', story.matched('a', 2))
    },
  },
  {
    rule: 'acknowledge only equal entries',
    name: 'a match that counts the end of the own log',
    options: { logs: { b: [1, 2] }, term: 2 },
    tell: (story) => {
      story.campaign('c', 3).ask('c', 'a').grant('a', 'c').lead('c')
      story.pass('c', 'b', { ...story.append('c', 2), entries: [] }).state('b', 3, null)
      story.send('b', 'c', story.matched('c', 2))
    },
  },
  {
    rule: 'acknowledge only equal entries',
    name: 'an acknowledgement to a server that does not lead',
    tell: (story) => {
      settled(story)
      story.send('b', 'c', story.matched('a', 2))
    },
  },
  {
    rule: 'durable means durable',
    name: 'a server that counts on an entry under way',
    tell: (story) => story.elect('a', 2, 'b').turn('a', { durable: 2 }),
  },
  {
    rule: 'durable means durable',
    name: 'a durable index that speaks of entries which have been replaced (ABA)',
    options: { logs: { b: [1, 2] }, term: 2 },
    tell: (story) => {
      story.elect('a', 3, 'c').pass('a', 'b', story.append('a', 2)).take('a', 'b', 2, 2).turn('b', { durable: 2 })
    },
  },
  {
    rule: 'commit by majority',
    name: 'a commit that only the leader has stored',
    tell: (story) => story.elect('a', 2, 'b').persisted('a').turn('a', { commit: 2 }),
  },
  {
    rule: 'commit by majority',
    name: 'a commit that counts the entry of the leader which is under way',
    tell: (story) => story.elect('a', 2, 'b').replicate('a', 'b', 2).turn('a', { commit: 2 }),
  },
  {
    rule: 'commit by majority',
    name: 'a commit with two of four',
    options: { voters: ['a', 'b', 'c', 'd'] },
    tell: (story) =>
      story.elect('a', 2, 'b', 'c').persisted('a').turn('a').replicate('a', 'b', 2).turn('a', { commit: 2 }),
  },
  {
    rule: 'commit only the own term',
    name: 'an entry of an older term that is committed by counting (figure 8)',
    options: { logs: { a: [1, 2], b: [1, 2], c: [1] }, term: 3 },
    tell: (story) => story.elect('a', 4, 'c').persisted('a').turn('a', { commit: 2 }),
  },
  {
    rule: 'leader tells its commit index',
    name: 'a leader that tells more than it has committed',
    tell: (story) => story.elect('a', 2, 'b').send('a', 'b', story.append('a', 2, 2)),
  },
  {
    rule: 'follower commit clamp',
    name: 'a heartbeat that commits entries which were never compared',
    options: { logs: { c: [1, 2] }, term: 2 },
    tell: (story) => {
      story.elect('a', 3, 'b').persisted('a').turn('a').replicate('a', 'b', 2).turn('a', { commit: 2 })
      story.pass('a', 'c', { ...story.append('a', 2), entries: [] }).state('c', 3, null, { commit: 2 })
    },
  },
  {
    rule: 'follower commit clamp',
    name: 'a follower that commits what no leader told',
    tell: (story) => story.elect('a', 2, 'b').replicate('a', 'b', 2).turn('b', { commit: 2 }),
  },
  {
    rule: 'commit index never falls',
    name: 'a commit index that goes back',
    tell: (story) => {
      settled(story)
      story.turn('b', { commit: 1 })
    },
  },
  {
    rule: 'leader completeness',
    name: 'a leader without an entry that was committed before',
    options: { logs: { a: [1, 2] }, commits: { a: 2 }, term: 2 },
    tell: (story) => story.campaign('c', 3).ask('c', 'b').grant('b', 'c').lead('c'),
  },
  {
    rule: 'state machine safety',
    name: 'two servers that apply different commands',
    tell: (story) => {
      settled(story)
      story.apply('a', 2).apply('b', 1)
      story.tell({ event: 'apply', server: 'b', entries: { first: 2, term: 2, hashes: ['other'] } })
    },
  },
  {
    rule: 'state machine safety',
    name: 'two histories that have committed different entries',
    options: { logs: { a: [1, 2], b: [1, 3] }, commits: { a: 2, b: 2 } },
    tell: () => undefined,
  },
  {
    rule: 'apply in order',
    name: 'an entry that is left out',
    tell: (story) => {
      settled(story)
      story.of('a').applied = 1
      story.apply('a', 2)
    },
  },
  {
    rule: 'apply in order',
    name: 'an entry that is applied twice',
    tell: (story) => {
      settled(story)
      story.apply('a', 2).of('a').applied = 1
      story.apply('a', 2)
    },
  },
  {
    rule: 'apply only committed entries',
    name: 'an entry that is applied before it is committed',
    tell: (story) => story.elect('a', 2, 'b').persisted('a').turn('a', { commit: 0 }).apply('a', 1),
  },
  {
    rule: 'read only in the own term',
    name: 'a new leader that answers before it has committed anything',
    options: { commits: { a: 1, b: 1, c: 1 } },
    tell: (story) => {
      story.elect('a', 2, 'b').persisted('a').turn('a').replicate('a', 'b', 2).read('a', 1)
      story.roundOf('a', 'b').answer('a', 1, 1)
    },
  },
  {
    rule: 'read after a round',
    name: 'a read that is answered at once',
    tell: (story) => {
      settled(story)
      story.read('a', 1).turn('a').answer('a', 1, 2)
    },
  },
  {
    rule: 'read after a round',
    name: 'a read that is confirmed by answers to an older round',
    tell: (story) => {
      settled(story)
      story.round += 1
      const heartbeat = story.append('a', 3)
      story.send('a', 'b', heartbeat).read('a', 1).receive('a', 'b', heartbeat).turn('b')
      story.pass('b', 'a', story.matched('a', 2)).turn('a').answer('a', 1, 2)
    },
  },
  {
    rule: 'read after a round',
    name: 'a read that a follower confirms',
    tell: (story) => {
      settled(story)
      story.read('b', 1).roundOf('a', 'b', 'c').answer('b', 1, 2)
    },
  },
  {
    rule: 'read what is committed',
    name: 'a read of an older state than was committed when it began',
    tell: (story) => {
      settled(story)
      story.propose('a').persisted('a').turn('a').replicate('a', 'b', 3).turn('a', { commit: 3 })
      story.read('a', 1).roundOf('a', 'b').answer('a', 1, 2)
    },
  },
  {
    rule: 'read what is committed',
    name: 'a read of what is not committed',
    tell: (story) => {
      settled(story)
      story.read('a', 1).roundOf('a', 'b').propose('a').answer('a', 1, 3)
    },
  },
  {
    rule: 'messages are received as sent',
    name: 'a message that arrives otherwise than it was sent',
    tell: (story) => {
      story.elect('a', 2, 'b').send('a', 'b', story.append('a', 2))
      story.receive('a', 'b', { ...story.append('a', 2), round: 9 })
    },
  },
  {
    rule: 'snapshot what is applied',
    name: 'a snapshot of more than was applied',
    tell: (story) => {
      settled(story)
      story.apply('a', 1).compact('a', 2, { snapshot: story.snapshotOf('a', 2) })
    },
  },
  {
    rule: 'snapshot what is applied',
    name: 'a snapshot that tells another term',
    tell: (story) => {
      settled(story)
      story.apply('a', 2).compact('a', 2, { snapshot: { ...story.snapshotOf('a', 2), term: 1 } })
    },
  },
  {
    rule: 'snapshot what is applied',
    name: 'a snapshot with the voters of an entry behind it',
    tell: (story) => {
      settled(story)
      story.apply('a', 2).change('a', ['a', 'b', 'c', 'd'])
      const snapshot = { ...story.snapshotOf('a', 2), voters: story.snapshotOf('a', 3).voters }
      story.compact('a', 2, { snapshot })
    },
  },
  {
    rule: 'compact behind a snapshot',
    name: 'an entry is discarded that the snapshot does not cover',
    tell: (story) => {
      settled(story)
      story.apply('a', 2).compact('a', 3, { snapshot: story.snapshotOf('a', 1) })
    },
  },
  {
    rule: 'compact behind a snapshot',
    name: 'the term before the first entry is not what it was',
    tell: (story) => {
      settled(story)
      story.apply('a', 2).compact('a', 2, { prevTerm: 2 })
    },
  },
  {
    rule: 'compact behind a snapshot',
    name: 'a log that stands on an older snapshot again',
    tell: (story) => {
      ahead(story)
      story.compact('a', 4, { snapshot: story.snapshotOf('a', 3) })
    },
  },
  {
    rule: 'snapshots come from servers',
    name: 'a snapshot that nobody has made',
    tell: (story) => {
      ahead(story)
      story.install('c', { ...story.snapshotOf('a', 4), id: 'x' })
    },
  },
  {
    rule: 'snapshots come from servers',
    name: 'a snapshot that says other voters than its maker',
    tell: (story) => {
      ahead(story)
      story.install('c', { ...story.snapshotOf('a', 4), voters: { voters: ['c'], outgoing: null } })
    },
  },
  {
    rule: 'install keeps what follows',
    name: 'entries go that follow an equal one',
    tell: (story) => {
      ahead(story)
      story.propose('a').persisted('a').turn('a').replicate('a', 'c', 3).install('c', story.snapshotOf('a', 4))
    },
  },
  {
    rule: 'install keeps what follows',
    name: 'entries stay that follow another one',
    options: { logs: { c: [1, 2, 2, 2] }, term: 2 },
    tell: (story) => {
      story.elect('a', 3, 'b').propose('a').persisted('a').turn('a').replicate('a', 'b', 2)
      story.turn('a', { commit: 3 }).apply('a', 3).compact('a', 3)
      story.write('c', { step: 'install', snapshot: story.snapshotOf('a', 3), keeps: true })
    },
  },
  {
    rule: 'restore only what is stored',
    name: 'a state machine that is reset before its log stands on the snapshot',
    tell: (story) => {
      ahead(story)
      const steps = [{ step: 'install', snapshot: story.snapshotOf('a', 4), keeps: false }] as const
      story
        .write('c', ...steps)
        .turn('c', { commit: 4, durable: 2 })
        .restore('c', 4)
    },
  },
  {
    rule: 'apply in order',
    name: 'a state machine that is reset to what it was',
    tell: (story) => {
      compacted(story)
      story.propose('a').persisted('a').turn('a').replicate('a', 'b', 3).turn('a', { commit: 3 })
      story.apply('a', 3).restore('a', 2)
    },
  },
  {
    rule: 'committed entries stay',
    name: 'entries go that a snapshot covers',
    tell: (story) => {
      ahead(story)
      story.install('c', story.snapshotOf('a', 4)).elect('b', 3, 'a')
      story.pass('b', 'c', story.append('b', 4)).write('c', { step: 'truncate', from: 4 })
    },
  },
  {
    rule: 'commit by majority',
    name: 'a majority of the voters before, where another one is in force',
    options: { voters: ['a', 'b', 'c', 'd'] },
    tell: (story) => {
      story.elect('a', 2, 'b', 'c').persisted('a').turn('a')
      story.replicate('a', 'b', 2).replicate('a', 'c', 2).turn('a', { commit: 2 })
      story.change('a', ['a', 'd', 'e'], ['a', 'b', 'c', 'd']).persisted('a').turn('a')
      story.replicate('a', 'b', 3).replicate('a', 'c', 3).turn('a', { commit: 3 })
    },
  },
  {
    rule: 'election majority',
    name: 'the votes of those that a snapshot says vote no more',
    options: { voters: ['a', 'b', 'c', 'd'] },
    tell: (story) => {
      story.elect('a', 2, 'b', 'c').persisted('a').turn('a')
      story.replicate('a', 'b', 2).replicate('a', 'c', 2).turn('a', { commit: 2 })
      story.change('a', ['a', 'b', 'c']).persisted('a').turn('a')
      story.replicate('a', 'b', 3).turn('a', { commit: 3 }).apply('a', 3).compact('a', 3)
      story.install('c', story.snapshotOf('a', 3)).elect('c', 3, 'd')
    },
  },
  {
    rule: 'one change at a time',
    name: 'a change before the one before is committed',
    tell: (story) => {
      settled(story)
      story.change('a', ['a', 'b', 'c', 'd']).change('a', ['a', 'b', 'c'])
    },
  },
  {
    rule: 'one change at a time',
    name: 'a change before an entry of its term is committed',
    tell: (story) => story.elect('a', 2, 'b').change('a', ['a', 'b', 'c', 'd']),
  },
  {
    rule: 'changes share a majority',
    name: 'two voters more at once',
    tell: (story) => {
      settled(story)
      story.change('a', ['a', 'b', 'c', 'd', 'e'])
    },
  },
  {
    rule: 'changes share a majority',
    name: 'a joint configuration whose other half is not the one before',
    tell: (story) => {
      settled(story)
      story.change('a', ['a', 'd', 'e'], ['a', 'd', 'f'])
    },
  },
  {
    rule: 'stopped servers are silent',
    name: 'a message after a crash',
    tell: (story) => story.elect('a', 2, 'b').crash('a').send('a', 'b', story.append('a', 2)),
  },
  {
    rule: 'stopped servers are silent',
    name: 'a message after the storage has failed',
    tell: (story) => {
      story.elect('a', 2, 'b').tell({ event: 'halt', server: 'a' }).send('a', 'b', story.append('a', 2))
    },
  },
]

function rulesBroken(known: KnownTrace): readonly string[] {
  const story = new Story(known.options)
  known.tell(story)
  return judgeTrace(parseTrace(formatTrace(story.trace))).violations.map(({ rule, detail }) => `${rule}: ${detail}`)
}

const goodTraces = suite('good traces')
for (const known of good) {
  goodTraces(`no rule is broken: ${known.name}`, () => assert.equal(rulesBroken(known), []))
}

const badTraces = suite('bad traces')
for (const known of bad) {
  badTraces(`${known.rule}: ${known.name}`, () => {
    const found = rulesBroken(known)
    assert.ok(found.length > 0, 'it was not found')
    const others = found.filter((violation) => !violation.startsWith(`${known.rule}: `))
    assert.equal(others, [], 'what else was found')
  })
}

badTraces('every rule has a trace that breaks it', () => {
  const broken = new Set<string>(bad.map(({ rule }) => rule))
  assert.equal(
    Object.keys(RULES).filter((rule) => !broken.has(rule)),
    [],
  )
})

badTraces('a voter whose storage was wiped votes again: both rules are named', () => {
  const story = new Story()
  story.campaign('a', 2).ask('a', 'b').grant('b', 'a').crash('b')
  Object.assign(story.of('b'), { term: 1, votedFor: null })
  story.restart('b').campaign('c', 2).ask('c', 'b').grant('b', 'c')
  const rules = judgeTrace(story.trace).violations.map(({ rule }) => rule)
  assert.equal(rules, ['restart from stable storage', 'one vote per term'])
})

badTraces('a line that is no event is refused by its number', () => {
  assert.throws(() => parseTrace('{"event":"crash","server":"a"}\n{'), /line 2 is not JSON/)
  assert.throws(() => parseTrace('[]'), /line 1 is not an event/)
  assert.throws(() => judgeTrace([]), /begins with its cluster/)
})

goodTraces.run()
badTraces.run()
