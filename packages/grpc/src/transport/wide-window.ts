/**
 * Lets more than 64 KiB come on a call that was accepted before this side must say that there is room for more. A
 * client of `@grpc/grpc-js` has an option for that (`grpc-node.flow_control_window`), a server has none: so the HTTP/2
 * session of the call is asked, which the call has in private fields. Where these are not, all is as gRPC has it: a
 * batch of more than 64 KiB then takes a round trip more.
 */

import type { ServerHttp2Session } from 'node:http2'

/** A request may have 4 MiB. Only peers that were admitted get it. */
const WINDOW_BYTES = 4 * 2 ** 20

/** Calls of interceptors lie around the one that has the stream. */
const INTERCEPTORS_MAX = 100

/** What is looked at of a call, whichever kind it is. */
interface Inside {
  readonly call?: Inside
  readonly nextCall?: Inside
  readonly stream?: { readonly session?: Partial<ServerHttp2Session> }
}

/** Invariant: nobody else uses the connection of that call, as no peer shares one. */
export function widenWindow(call: object): void {
  let inside: Inside | undefined = (call as Inside).call
  for (let depth = 0; depth < INTERCEPTORS_MAX && inside?.nextCall !== undefined; depth += 1) inside = inside.nextCall
  const session = inside?.stream?.session
  if (session?.destroyed !== false) return
  session.setLocalWindowSize?.(WINDOW_BYTES)
  session.settings?.({ initialWindowSize: WINDOW_BYTES })
}
