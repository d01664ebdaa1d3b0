/** The door of `balsa-raft/storage`: the stores that come with Balsa. */

export { fileStore } from './file/file-log-store.js'
export { nativeStore } from './native/native-log-store.js'
export type { NativeStoreMode, NativeStoreOptions } from './native/native-log-store.js'
export type { LogStore, StoredState, StoreFactory, StoreProgress, StoreStats, Ticket } from './log-store.js'
export { MemoryDisk, memoryStore } from './memory/memory-log-store.js'
export type { MemoryDiskOptions, MemoryStoreFactory, ScheduleCommit } from './memory/memory-log-store.js'
export type { StoreOperation } from '../types.js'
export { fileSnapshotStore } from '../snapshot/file-snapshot-store.js'
export { MemorySnapshotDisk, memorySnapshotStore } from '../snapshot/memory-snapshot-store.js'
export type { MemorySnapshotDiskOptions, MemorySnapshotStoreFactory } from '../snapshot/memory-snapshot-store.js'
export type {
  FlawedSnapshot,
  FoundSnapshots,
  SnapshotIntake,
  SnapshotSink,
  SnapshotStore,
  SnapshotStoreFactory,
  StoredSnapshot,
} from '../snapshot/snapshot-store.js'
export type { SnapshotHeader, SnapshotMeta } from '../types.js'
