/** The error of a promise that must fail. */

import { RaftError } from 'balsa-raft'

export async function failure(promise: Promise<unknown>): Promise<RaftError> {
  try {
    await promise
  } catch (error) {
    if (error instanceof RaftError) return error
    throw error
  }
  throw new Error('it should have failed')
}
