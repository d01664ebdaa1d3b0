/** The refusal of a transport that is to be started and cannot be: it runs, or is over. */

import type { RaftError } from '../errors.js'
import { optionsError } from '../option-checks.js'

/** What `start` of a transport is refused with that was started or closed already. */
export function notNew(isClosed: boolean): RaftError {
  return optionsError(
    `this transport ${isClosed ? 'was closed' : 'is started already'}: make one for each server that is opened`,
  )
}
