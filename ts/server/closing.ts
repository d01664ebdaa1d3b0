/**
 * Gives back what a server holds of the outside. Nothing here waits for ever: what does not end in time is left behind,
 * and whoever asked is told what that means.
 */

import { AssertionFailure, isOurs, RaftError } from '../errors.js'
import { textOf } from '../foreign-values.js'
import type { LogStore } from '../storage/log-store.js'
import type { Transport } from '../transport/transport.js'
import type { CancelTimer, Clock, Logger } from '../types.js'

/** What may be left behind: how that is told, and how long it has. */
interface Leavable {
  readonly event: string
  readonly it: 'it' | 'they'
  readonly msMax: number
}

/** Connections only have to be ended, not to be drained. */
const TRANSPORT: Leavable = { event: 'transport.left-behind', it: 'it', msMax: 5000 }
/** What is begun is given up, not finished. */
const SNAPSHOTS: Leavable = { event: 'snapshot.left-behind', it: 'they', msMax: 5000 }
/** A store writes what it was given before it closes: a disk that is slow has this long. */
const STORE_MS_MAX = 30_000

/** Leaves the peers. Rejects for a defect alone. */
export function closeTransport(transport: Transport, clock: Clock, logger: Logger): Promise<void> {
  return closeOrLeave(TRANSPORT, transport, clock, logger)
}

/** What is read or written of snapshots ends: a file that is left is removed later. Rejects for a defect alone. */
export function closeSnapshots(snapshots: Closable, clock: Clock, logger: Logger): Promise<void> {
  return closeOrLeave(SNAPSHOTS, snapshots, clock, logger)
}

/** Releases the folder. Rejects with what keeps it from being released. */
export async function closeStore(store: LogStore, dir: string, clock: Clock): Promise<void> {
  let ended = false
  try {
    ended = await within(clock, STORE_MS_MAX, () => store.close())
  } catch (error) {
    if (isOurs(error)) throw error
    const message = `the store in ${dir} failed to close: ${textOf(error)}. Whether the folder is free again shows when it is opened`
    throw new RaftError('ERR_RAFT_STORE_POISONED', message, { outcome: 'unknown', cause: error })
  }
  if (ended) return
  const message = `the store in ${dir} did not close within ${STORE_MS_MAX} ms: its disk does not answer. The folder stays locked until it does, or until this process ends`
  throw new RaftError('ERR_RAFT_DIR_LOCKED', message)
}

interface Closable {
  close(): Promise<void>
}

/** What fails to close keeps nothing else from ending: that is logged. */
async function closeOrLeave(
  { event, it, msMax }: Leavable,
  what: Closable,
  clock: Clock,
  logger: Logger,
): Promise<void> {
  try {
    const ended = await within(clock, msMax, () => what.close())
    if (!ended) logger.error(event, { reason: `${it} did not close within ${msMax} ms` })
  } catch (error) {
    if (error instanceof AssertionFailure) throw error
    logger.error(event, { reason: `${it} failed to close: ${textOf(error)}` })
  }
}

/** False when it has not ended in time; what it does later is not looked at. */
async function within(clock: Clock, ms: number, begin: () => Promise<void>): Promise<boolean> {
  let cancel: CancelTimer = () => {}
  const late = new Promise<boolean>((resolve) => {
    cancel = clock.setTimer(ms, () => resolve(false))
  })
  try {
    return await Promise.race([begin().then(() => true), late])
  } finally {
    cancel()
  }
}
