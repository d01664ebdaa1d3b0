/** Calls of one request and one response, as the services of this package declare and answer them. */

import type { handleUnaryCall, MethodDefinition } from '@grpc/grpc-js'
import type { WaitOptions } from 'balsa-raft'
import type { Codec } from './protobuf.js'
import { statusOf } from './status-of.js'

/** Of what is left until the deadline: so that the answer, which says what became of the call, is there before it. */
const LEFT_FOR_THE_ANSWER_MS = 100
const WAIT_MAX_MS = 2 ** 31 - 1

export function unaryMethod<Request, Response>(
  path: string,
  request: Codec<Request>,
  response: Codec<Response>,
): MethodDefinition<Request, Response> {
  return {
    ...{ path, requestStream: false, responseStream: false },
    requestSerialize: (message) => request.encode(message),
    requestDeserialize: (bytes) => request.decode(bytes),
    responseSerialize: (message) => response.encode(message),
    responseDeserialize: (bytes) => response.decode(bytes),
  }
}

/** The deadline of the call bounds the wait, and a call that is cancelled ends it. */
export function unary<Request, Response>(
  answer: (request: Request, wait: WaitOptions) => Response | Promise<Response>,
): handleUnaryCall<Request, Response> {
  return (call, respond) => {
    const ended = new AbortController()
    call.on('cancelled', () => ended.abort())
    const timeoutMs = timeoutOf(call.getDeadline())
    const wait = { signal: ended.signal, ...(timeoutMs === null ? {} : { timeoutMs }) }
    const answered = (async () => answer(call.request, wait))()
    answered.then(
      (response) => respond(null, response),
      (error: unknown) => respond(statusOf(error)),
    )
  }
}

/** Null: there is no deadline. */
function timeoutOf(deadline: Date | number): number | null {
  if (deadline === Infinity) return null
  const left = Number(deadline) - Date.now()
  return Math.min(Math.max(left - Math.min(LEFT_FOR_THE_ANSWER_MS, left / 10), 1), WAIT_MAX_MS)
}
