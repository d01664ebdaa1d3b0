/**
 * Puts together what `metrics` tells: from the status, the rooms and the meter, at the moment of the call. Labels are
 * bounded: this server, words of the program, and the ids of members.
 */

import type { EventLoopLag } from '../observe/event-loop-lag.js'
import type { Histogram } from '../observe/histogram.js'
import type { Meter } from '../observe/meter.js'
import { METRIC_NAMES, METRICS } from '../observe/metric.js'
import type { Distribution, Labels, Metric, MetricName, Sample } from '../observe/metric.js'
import type { StoreStats } from '../storage/log-store.js'
import type { Traffic } from '../transport/transport.js'
import type { ServerId } from '../types.js'
import type { Health } from './health.js'
import type { TransferProgress } from './snapshot-transfers.js'
import type { Status } from './status.js'

const ROLES = ['follower', 'preCandidate', 'candidate', 'leader'] as const

export interface Readings {
  readonly status: Status
  readonly storeStats: StoreStats
  readonly health: Health
  /** How much stands in each room. */
  readonly rooms: Readonly<Record<string, number>>
  readonly transfers: readonly TransferProgress[]
  /** By peer; null where the transport does not tell. */
  readonly traffic: ReadonlyMap<ServerId, Traffic> | null
  readonly meter: Meter
  readonly lag: EventLoopLag
}

export function metricsOf(readings: Readings): readonly Metric[] {
  const told = new Telling(readings.status.id)
  tellStanding(told, readings)
  tellLog(told, readings)
  tellRooms(told, readings)
  tellPeers(told, readings)
  tellSnapshots(told, readings)
  tellStore(told, readings)
  return told.metrics()
}

function tellStanding(told: Telling, { status, health, meter, lag }: Readings): void {
  const { role, configuration, clock } = status
  told.add('balsa_ready', Number(health.isReady))
  if (health.stalenessMs !== null) told.add('balsa_staleness_seconds', health.stalenessMs / 1000)
  told.add('balsa_halted', Number(status.fault !== null))
  for (const each of ROLES) told.add('balsa_role', Number(each === role), { role: each })
  told.add('balsa_term', status.term)
  told.add('balsa_leader_known', Number(status.leader !== null))
  told.add('balsa_members', configuration.voters.length, { kind: 'voter' })
  told.add('balsa_members', configuration.nonvoters.length, { kind: 'nonvoter' })
  told.add('balsa_pre_votes_total', meter.preVotes)
  told.add('balsa_elections_total', meter.elections)
  told.add('balsa_leaderships_total', meter.leaderships)
  told.add('balsa_leader_changes_total', meter.leaderChanges)
  told.add('balsa_clock_offset_seconds', clock.offsetMs / 1000)
  told.add('balsa_clock_jumps_total', clock.jumps)
  const { p50, p99, max } = lag.take()
  told.add('balsa_event_loop_lag_p50_seconds', p50)
  told.add('balsa_event_loop_lag_p99_seconds', p99)
  told.add('balsa_event_loop_lag_max_seconds', max)
}

function tellLog(told: Telling, { status, meter }: Readings): void {
  told.add('balsa_first_index', status.firstIndex)
  told.add('balsa_last_index', status.lastIndex)
  told.add('balsa_durable_index', status.durableIndex)
  told.add('balsa_commit_index', status.commitIndex)
  told.add('balsa_applied_index', status.appliedIndex)
  told.add('balsa_proposed_entries_total', meter.proposedEntries)
  told.add('balsa_applied_entries_total', meter.appliedEntries)
  told.addHistogram('balsa_commit_latency_seconds', meter.commitLatency)
  told.addHistogram('balsa_apply_latency_seconds', meter.applyLatency)
  told.addHistogram('balsa_write_latency_seconds', meter.writeLatency)
}

function tellRooms(told: Telling, { rooms, meter }: Readings): void {
  for (const [room, count] of Object.entries(rooms)) {
    if (room === 'waitingBytes') told.add('balsa_waiting_bytes', count)
    else told.add('balsa_queue_depth', count, { queue: room })
  }
  told.add('balsa_watch_dropped_events_total', meter.droppedEvents)
}

function tellPeers(told: Telling, { status, traffic, meter }: Readings): void {
  for (const { id: peer, connected, matchIndex } of status.peers) {
    told.add('balsa_peer_connected', Number(connected), { peer })
    if (status.role === 'leader') told.add('balsa_peer_match_index', matchIndex, { peer })
    const bytes = traffic?.get(peer)
    if (bytes === undefined) continue
    told.add('balsa_peer_sent_bytes_total', bytes.sent, { peer })
    told.add('balsa_peer_received_bytes_total', bytes.received, { peer })
  }
  told.add('balsa_peer_disconnects_total', meter.disconnects)
}

function tellSnapshots(told: Telling, { status, transfers, meter }: Readings): void {
  const { last, isTaking, isRestoring } = status.snapshot
  if (last !== null) {
    told.add('balsa_snapshot_index', last.index)
    told.add('balsa_snapshot_bytes', last.bytes)
  }
  told.add('balsa_snapshot_active', Number(isTaking), { what: 'taking' })
  told.add('balsa_snapshot_active', Number(isRestoring), { what: 'restoring' })
  for (const [what, count] of Object.entries(meter.snapshots)) told.add('balsa_snapshots_total', count, { what })
  for (const { peer, direction, written, bytes } of transfers) {
    told.add('balsa_snapshot_transfer_bytes', written, { peer, direction })
    told.add('balsa_snapshot_transfer_size_bytes', bytes, { peer, direction })
  }
}

function tellStore(told: Telling, { storeStats, meter }: Readings): void {
  const { usedBytes, capacityBytes, behindBytes, bytesWritten, groupCommits, flushes } = storeStats
  told.add('balsa_store_used_bytes', usedBytes)
  if (capacityBytes !== null) told.add('balsa_store_capacity_bytes', capacityBytes)
  if (behindBytes !== undefined) told.add('balsa_store_behind_bytes', behindBytes)
  told.add('balsa_store_written_bytes_total', bytesWritten)
  told.add('balsa_store_group_commits_total', groupCommits)
  told.add('balsa_store_flushes_total', flushes)
  told.add('balsa_store_stalled', Number(meter.isStalled))
}

/** Collects samples by metric, and freezes them. */
class Telling {
  readonly #server: ServerId
  readonly #samples = new Map<MetricName, Sample[]>()
  readonly #distributions = new Map<MetricName, Distribution[]>()

  constructor(server: ServerId) {
    this.#server = server
  }

  add(name: MetricName, value: number, labels: Labels = {}): void {
    const sample = Object.freeze({ labels: this.#labelled(labels), value })
    const samples = this.#samples.get(name)
    if (samples === undefined) this.#samples.set(name, [sample])
    else samples.push(sample)
  }

  addHistogram(name: MetricName, histogram: Histogram): void {
    this.#distributions.set(name, [histogram.distribution(this.#labelled({}))])
  }

  metrics(): readonly Metric[] {
    return Object.freeze(METRIC_NAMES.map((name) => this.#metricOf(name)))
  }

  #metricOf(name: MetricName): Metric {
    const { type, help } = METRICS[name]
    if (type === 'histogram') {
      return Object.freeze({ name, help, type, samples: Object.freeze(this.#distributions.get(name) ?? []) })
    }
    return Object.freeze({ name, help, type, samples: Object.freeze(this.#samples.get(name) ?? []) })
  }

  #labelled(labels: Labels): Labels {
    return Object.freeze({ server: this.#server, ...labels })
  }
}
