/**
 * What can be read of a server in numbers: every metric with its type, its labels and what it says. The one list of
 * them; docs/watching.md shows it, and a test holds both together. Names and units are those of Prometheus: base units,
 * counters end with `_total`.
 */

export type MetricType = 'counter' | 'gauge' | 'histogram'

interface MetricKind {
  readonly type: MetricType
  readonly help: string
}

const counter = (help: string): MetricKind => ({ type: 'counter', help })
const gauge = (help: string): MetricKind => ({ type: 'gauge', help })
const histogram = (help: string): MetricKind => ({ type: 'histogram', help })

/** In the order in which they are told. */
export const METRICS = {
  balsa_ready: gauge('1 while the server is ready: a leader is known and local state is current'),
  balsa_staleness_seconds: gauge('Age of the newest moment as of which everything known committed is applied here'),
  balsa_halted: gauge('1 once the server has halted'),
  balsa_role: gauge('1 for the role that the server has, 0 for the others'),
  balsa_term: gauge('Current term'),
  balsa_leader_known: gauge('1 while a leader is known'),
  balsa_members: gauge('Members of the newest configuration, by kind'),
  balsa_pre_votes_total: counter('Times this server asked for pre-votes'),
  balsa_elections_total: counter('Elections that this server began, as a candidate'),
  balsa_leaderships_total: counter('Elections that this server won'),
  balsa_leader_changes_total: counter('Times another leader became known than the one before'),
  balsa_first_index: gauge('Oldest entry that is kept'),
  balsa_last_index: gauge('Newest entry'),
  balsa_durable_index: gauge('Newest entry on the disk of this server'),
  balsa_commit_index: gauge('Newest entry that this server knows to be committed'),
  balsa_applied_index: gauge('Newest entry that the state machine has answered'),
  balsa_proposed_entries_total: counter('Entries that this server proposed as the leader'),
  balsa_applied_entries_total: counter('Entries that were applied here'),
  balsa_commit_latency_seconds: histogram('From the batch of an entry until it is known committed, on the leader'),
  balsa_apply_latency_seconds: histogram('What the state machine took for a batch'),
  balsa_write_latency_seconds: histogram('From handing a write to the store until it is known durable'),
  balsa_queue_depth: gauge('What waits in each room of the server'),
  balsa_waiting_bytes: gauge('Bytes of commands that wait for the next batch'),
  balsa_peer_connected: gauge('1 while the connection that this server dialled to the peer is up'),
  balsa_peer_match_index: gauge('Newest entry that the peer is known to have, on the leader'),
  balsa_peer_sent_bytes_total: counter('Bytes sent to the peer, without handshakes'),
  balsa_peer_received_bytes_total: counter('Bytes received from the peer, without handshakes'),
  balsa_peer_disconnects_total: counter('Connections to peers that ended'),
  balsa_snapshot_index: gauge('Last entry that the newest snapshot covers'),
  balsa_snapshot_bytes: gauge('Size of the newest snapshot'),
  balsa_snapshot_active: gauge('1 while a snapshot is taken, or the state machine restored from one'),
  balsa_snapshots_total: counter('Snapshots, by what became of them'),
  balsa_snapshot_transfer_bytes: gauge('Bytes of the snapshot on its way that are written where it goes'),
  balsa_snapshot_transfer_size_bytes: gauge('Bytes of the snapshot on its way, all of it'),
  balsa_store_used_bytes: gauge('What the log takes'),
  balsa_store_capacity_bytes: gauge('What the log may take'),
  balsa_store_behind_bytes: gauge('Bytes that are durable in the journal, and not in its home yet'),
  balsa_store_written_bytes_total: counter('Bytes that the store has written'),
  balsa_store_group_commits_total: counter('Group commits of the store'),
  balsa_store_flushes_total: counter('Flushes of the device that the store asked for'),
  balsa_store_stalled: gauge('1 while the disk or the store is full'),
  balsa_clock_offset_seconds: gauge('How far the date of this machine is ahead of the time of entries'),
  balsa_clock_jumps_total: counter('Times the date of this machine jumped'),
  balsa_watch_dropped_events_total: counter('Events that watchers lost because they did not take them'),
  balsa_event_loop_lag_p50_seconds: gauge('Event-loop lag since the metrics were last read, median'),
  balsa_event_loop_lag_p99_seconds: gauge('Event-loop lag since the metrics were last read, 99th percentile'),
  balsa_event_loop_lag_max_seconds: gauge('Event-loop lag since the metrics were last read, highest'),
} as const satisfies Record<string, MetricKind>

/** One of the metrics that docs/watching.md lists. */
export type MetricName = keyof typeof METRICS

export const METRIC_NAMES = Object.keys(METRICS) as readonly MetricName[]

/** Names and values; `server` is always among them. */
export type Labels = Readonly<Record<string, string>>

/** One value of a counter or gauge. */
export interface Sample {
  readonly labels: Labels
  readonly value: number
}

/** How many values there were, by what they were at most. */
export interface Distribution {
  readonly labels: Labels
  /** By ascending `le`, the last one Infinity: how many values were at most that. */
  readonly buckets: readonly { readonly le: number; readonly count: number }[]
  readonly sum: number
  readonly count: number
}

interface Told<Type extends MetricType, Shape> {
  readonly name: MetricName
  readonly help: string
  readonly type: Type
  /** Empty: there is nothing to tell now. */
  readonly samples: readonly Shape[]
}

/** Plain data, frozen. */
export type Metric = Told<'counter' | 'gauge', Sample> | Told<'histogram', Distribution>
