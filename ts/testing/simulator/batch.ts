/** What many worlds come to together. */

import { FAULT_NAMES } from './faults/fault-names.js'

/** Too rare for a batch of seconds. */
const RARE_FAULTS: readonly string[] = [
  ...['flood', 'wipe', 'rollback', 'clone', 'crash-all', 'cut-ring', 'take-snapshot', 'break-channels', 'member-anew'],
]

/** What a million core steps must have been in; whatever is missing was not tested. */
const MUST_REACH: readonly string[] = [
  'busy',
  'call ended with ERR_RAFT_ABORTED, not-applied',
  'call ended with ERR_RAFT_ABORTED, unknown',
  'call ended with ERR_RAFT_CLOSED, not-applied',
  'call ended with ERR_RAFT_CLOSED, unknown',
  'call ended with ERR_RAFT_LEADERSHIP_LOST, unknown',
  'call ended with ERR_RAFT_TIMEOUT, unknown',
  'call lost with its process',
  'commit without own disk',
  'compaction',
  'conflict',
  'conflict truncation',
  'crash of a leader',
  'crash with unwritten tickets',
  'fetch below the tail',
  'part of a message has arrived',
  'leader with an uncommitted tail',
  'read answered',
  'lease held',
  'read by lease answered',
  'query by lease answered',
  'leader asked by lease',
  'read deferred until the first commit of its term',
  'replay from the store',
  'restored from a snapshot',
  ...['session', 'sessionAgain', 'sessionRepeat', 'sessionOpen', 'sessionClose'].map((kind) => `${kind} answered`),
  ...['submit', 'query', 'session', 'sessionAgain'].map((kind) => `${kind} answered outside`),
  'call ended with ERR_RAFT_SESSION_SEQUENCE, unknown',
  'snapshot in the place of a log',
  'transfer begun',
  'transfer done',
  'step-down with an uncommitted tail',
  'step-down without a quorum',
  'fault: cut-for-good',
  ...FAULT_NAMES.filter((name) => !RARE_FAULTS.includes(name)).map((name) => `fault: ${name}`),
]

/** What a run of an hour, some 100 million core steps, must have been in besides. */
const MUST_REACH_IN_AN_HOUR: readonly string[] = [
  'call ended with ERR_RAFT_STORE_CORRUPT, unknown',
  'crash before an install is durable',
  'crash of a leader in a joint configuration',
  'call ended with ERR_RAFT_CLOSED, applied',
]

/** What a run of minutes, some 10 million core steps, must have been in as well. */
const MUST_REACH_IN_MINUTES: readonly string[] = [
  ...['send', 'respond', 'flushed', 'submit', 'submitted', 'written', 'apply', 'applied'].map(
    (where) => `crash: at ${where}`,
  ),
  'call ended with ERR_RAFT_LEADERSHIP_LOST, applied',
  'call ended with ERR_RAFT_OVERLOADED, not-applied',
  'call ended with ERR_RAFT_STORE_CORRUPT, not-applied',
  'call ended with ERR_RAFT_STORE_POISONED, unknown',
  'entries for a peer could not be read',
  'call ended with ERR_RAFT_SESSION_LOST, unknown',
  'repaired',
  'repair refused',
  'configuration rolled back',
  'joint configuration',
  'voter again with another disk',
  'fault: asks-where-to-join',
  'compaction held for a peer',
  ...['create', 'write', 'sync', 'rename'].map((call) => `crash: at ${call} of a snapshot, done`),
  'crash before a restore is through',
  'crash of a leader that gives a snapshot',
  'damaged piece',
  'fault: channels-broken',
  'snapshot over a log that agrees',
  'stale offer',
  'transfer refused',
  'transfer resumed',
  'step-down of a leader that is no voter',
  'step-down because it halted',
  'step-down because of a higher term',
  'step-down because of a stalled disk',
  ...['quorum-lost', 'left-behind', 'left-behind-refused', 'left-behind-told', 'comes-anew'].map(
    (name) => `fault: ${name}`,
  ),
  ...['recovered-again', 'recovered-before'].map((name) => `fault: ${name}`),
  ...['', ' that loses what was committed', ' that commits what was not', ' of a log that stands on a snapshot'].map(
    (how) => `recovery${how}`,
  ),
  'voter that came after a recovery',
  ...['wiped', 'rolled back'].map((how) => `crash: ${how}`),
  ...RARE_FAULTS.map((name) => `fault: ${name}`),
]

export function formatCounts(counts: ReadonlyMap<string, number>): string {
  return [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([what, times]) => `${String(times).padStart(9)}  ${what}`)
    .join('\n')
}

/** What a batch of so many core steps must have been in. */
export function mustReach(steps: number): readonly string[] {
  return [
    ...(steps >= 1_000_000 ? MUST_REACH : []),
    ...(steps >= 10_000_000 ? MUST_REACH_IN_MINUTES : []),
    ...(steps >= 100_000_000 ? MUST_REACH_IN_AN_HOUR : []),
  ]
}
