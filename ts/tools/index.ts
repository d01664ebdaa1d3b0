/** The door of `balsa-raft/tools`: what is done with the folder of a server that does not run. */

export { dump } from './dump.js'
export type { DumpedEntry, DumpRange } from './dump.js'
export { migrate } from './migrate.js'
export type { MigrateOptions, Migration } from './migrate.js'
export { stats } from './stats.js'
export type { FolderFile, FolderStats } from './stats.js'
export type { StoreEngine } from './store-in.js'
export { verify } from './verify.js'
export type { Flaw, Restorable, Verification } from './verify.js'
