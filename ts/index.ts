/** The only public door: named exports, no logic. */

export { httpStatusOf, RaftError } from './errors.js'
export type { EntryRange, LeaderHint, Outcome, RaftErrorCode } from './errors.js'
export { msgpackCodec } from './machine/msgpack-codec.js'
export { defineStateMachine } from './machine/state-machine.js'
export type { ApplyContext, Codec, Entry, StateMachine } from './machine/state-machine.js'
export type {
  BootstrapOptions,
  ClientsOptions,
  FolderOptions,
  JoinAs,
  RaftOptions,
  RecoveredServer,
  RecoverOptions,
  ImportOptions,
  SnapshotBytes,
  SnapshotOptions,
} from './options.js'
export { Raft } from './raft.js'
export type { ChangeOptions, MembershipTarget, NewServer } from './raft.js'
export type { RaftEvents } from './observe/events.js'
export type { Distribution, Labels, Metric, MetricName, MetricType, Sample } from './observe/metric.js'
export type { EventName, Watch, WatchedEvent, WatchOptions } from './observe/watch.js'
export type { CloseOptions, TransferOptions } from './server/calls/leadership-queue.js'
export type { WaitOptions } from './server/calls/pending-call.js'
export type { Consistency, QueryOptions, SubmitOptions } from './server/forward/any-server.js'
export type { Proposed } from './server/forward/asking.js'
export type { BootstrappedFolder } from './server/open/bootstrap.js'
export type { FolderState } from './server/open/folder-state.js'
export type { Recovery } from './server/open/recover.js'
export type { SeededFolder } from './server/open/seed.js'
export type { Health } from './server/health.js'
export type { Session, SessionOptions } from './server/session.js'
export type { ClockStatus, ConfigurationAnswer, PeerStatus, Status } from './server/status.js'
export { fileStore, nativeStore } from './storage/index.js'
export type { LogStore, StoreFactory, StoreStats } from './storage/log-store.js'
export type { Transport } from './transport/transport.js'
export type {
  Clock,
  ConfigurationStatus,
  JoinAnswer,
  JoinStatus,
  Logger,
  LogIndex,
  Member,
  Role,
  Server,
  ServerId,
  ServerMeta,
  SessionToken,
  Term,
} from './types.js'
