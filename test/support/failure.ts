/** The error of a promise that must fail. */

import * as assert from 'uvu/assert'
import { RaftError } from 'balsa-raft'
import type { RaftErrorCode } from 'balsa-raft'

export async function failure(promise: Promise<unknown>): Promise<RaftError> {
  try {
    await promise
  } catch (error) {
    if (error instanceof RaftError) return error
    throw error
  }
  throw new Error('it should have failed')
}

/** The same, where it must be that one. */
export async function refusal(promise: Promise<unknown>, code: RaftErrorCode): Promise<RaftError> {
  const error = await failure(promise)
  assert.is(error.code, code, error.message)
  return error
}
