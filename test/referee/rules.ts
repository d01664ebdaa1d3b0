/**
 * The rules that the referee knows, and where they stand: sections and figures of the Raft paper, chapters of the
 * thesis.
 */

export const RULES = {
  'election safety': '5.2, figure 3: at most one leader in a term',
  'election majority': '5.2: a leader has the votes of a majority, its own among them',
  'one vote per term': '5.2, figure 2: first come, first served, and never another one in that term',
  'vote only when asked': '5.2, figure 2: a vote answers a RequestVote of that term',
  'vote for up-to-date logs': '5.4.1: no vote for a candidate whose log is behind the voter',
  'candidates tell their log': '5.4.1: RequestVote names the last entry of the candidate',
  'vote durable before it leaves': '5.1, figure 2: stable storage is updated before the answer',
  'term durable before it leaves': '5.1, figure 2: stable storage is updated before the answer',
  'answers tell the current term': '5.1, figure 2: results carry currentTerm',
  'terms only grow': '5.1: the current term increases, and entries never go back in term',
  'terms come from candidates': '5.1, 5.2: a term is begun by a candidate, or learned from a message',
  'pre-vote changes nothing': 'thesis 9.6: neither term nor vote',
  'pre-vote majority': 'thesis 9.6, 3.10: a term is begun only after a majority would vote, or its leader has asked',
  'state is stable': '5.1, figure 2: term, vote and log are kept in stable storage',
  'restart from stable storage': '5.1, figure 2: persistent state is what a restart finds',
  'leader append-only': '5.3, figure 3: a leader never overwrites or deletes its entries',
  'leader sends its log': '5.3, figure 2: entries, prevLogIndex and prevLogTerm are those of its log',
  'entries come from leaders': '5.3: log entries flow only from leaders to other servers',
  'log matching': '5.3, figure 3: same index and term mean same entry and same entries before',
  'truncate only at a conflict': '5.3, figure 2: entries are deleted only if they conflict with new ones',
  'committed entries stay': '5.3, 5.4: nothing at or below the commit index is deleted',
  'acknowledge only durable entries': '5.1, figure 2; thesis 10.2.1: stable storage before the answer',
  'acknowledge only equal entries': '5.3: success means that the log is that of the leader up to there',
  'durable means durable': 'thesis 10.2.1: what a server counts on is in its stable storage',
  'commit by majority': '5.3, figure 2: a majority has stored the entry',
  'commit only the own term': '5.4.2: no entry of an earlier term is committed by counting',
  'leader tells its commit index': 'figure 2: leaderCommit is at most the commit index of the leader',
  'follower commit clamp': '5.3, figure 2: min(leaderCommit, index of last new entry)',
  'commit index never falls': 'figure 2: commitIndex increases monotonically',
  'leader completeness': '5.4.3, figure 3: committed entries are in the logs of all later leaders',
  'state machine safety': '5.4.3, figure 3: no two servers apply different entries at an index',
  'apply in order': '5.3, figure 2: entries are applied in log order, each once',
  'apply only committed entries': '5.3, figure 2: lastApplied does not pass commitIndex',
  'snapshot what is applied': '7, figure 12: what was applied, with its last index, term and configuration',
  'compact behind a snapshot': '7: only what a snapshot covers is discarded, and neither goes back',
  'snapshots come from servers': '7, figure 13: what is installed is what some server has made',
  'install keeps what follows':
    '7, figure 13: entries behind the snapshot stay where its last entry is there, else none',
  'restore only what is stored': '7, figure 13: a state machine is reset with what its stable log stands on',
  'one change at a time': 'thesis 4.1: the change before is committed, and an entry of the term of the leader',
  'changes share a majority': 'thesis 4.1, 4.3: no two majorities, of before and after, without a server in common',
  'read only in the own term': 'thesis 6.4, step 1: an entry of the current term is committed first',
  'read after a round': 'thesis 6.4, step 3: a majority answers what was sent after the read began',
  'read what is committed': 'thesis 6.4, step 2: at least what was committed when the read began',
  'messages are received as sent': '2: the network loses, repeats and delays messages, and makes none up',
  'stopped servers are silent': '2, 5.1: servers fail by stopping',
} as const

export type RuleName = keyof typeof RULES

export interface Violation {
  readonly rule: RuleName
  /** Where the rule stands. */
  readonly place: string
  /** What is wrong, with the numbers. */
  readonly detail: string
  /**
   * The line of the trace, counted from 1; in `perServer` order the number of the event in the order that was judged.
   */
  readonly line: number
}
