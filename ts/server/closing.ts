/**
 * Gives back what a server holds of the outside. Nothing here waits for ever: what does not end in time is left behind,
 * and whoever asked is told what that means.
 */

import { AssertionFailure, isOurs, RaftError } from '../errors.js'
import { textOf } from '../foreign-values.js'
import type { LogStore } from '../storage/log-store.js'
import type { Transport } from '../transport/transport.js'
import type { CancelTimer, Clock, Logger } from '../types.js'

/** Connections only have to be ended, not to be drained. */
const TRANSPORT_MS_MAX = 5000
/** What is begun is given up, not finished. */
const SNAPSHOTS_MS_MAX = 5000
/** A store writes what it was given before it closes: a disk that is slow has this long. */
const STORE_MS_MAX = 30_000

/**
 * Leaves the peers. A transport that fails to close keeps nothing else from ending: that is logged. Rejects for a
 * defect alone.
 */
export async function closeTransport(transport: Transport, clock: Clock, logger: Logger): Promise<void> {
  try {
    const ended = await within(clock, TRANSPORT_MS_MAX, () => transport.close())
    if (!ended) logger.error('transport left behind', { reason: `it did not close within ${TRANSPORT_MS_MAX} ms` })
  } catch (error) {
    if (error instanceof AssertionFailure) throw error
    logger.error('transport left behind', { reason: `it failed to close: ${textOf(error)}` })
  }
}

/** What is read or written of snapshots ends. What fails in that is logged: a file that is left is removed later. */
export async function closeSnapshots(
  snapshots: { close(): Promise<void> },
  clock: Clock,
  logger: Logger,
): Promise<void> {
  try {
    const ended = await within(clock, SNAPSHOTS_MS_MAX, () => snapshots.close())
    if (!ended) logger.error('snapshots left behind', { reason: `they did not close within ${SNAPSHOTS_MS_MAX} ms` })
  } catch (error) {
    if (error instanceof AssertionFailure) throw error
    logger.error('snapshots left behind', { reason: `they failed to close: ${textOf(error)}` })
  }
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
