/** A transport of a user's own, which can be made again in a worker thread, and ends it. */

import { tcp } from 'balsa-raft/transport/tcp'
import type { Transport } from 'balsa-raft/transport'

/** `tcp`, that ends its thread in that way when there is a peer to be dialled. */
export function ending(options: { readonly listen: string; readonly how: 'exit' | 'throw' }): Transport {
  const transport = tcp({ listen: options.listen })
  const setPeers = (peers: readonly unknown[]): void => {
    if (peers.length === 0) return
    if (options.how === 'exit') process.exit(3)
    throw new Error('on purpose')
  }
  return new Proxy<Transport>(transport, {
    get: (target, name) => {
      if (name === 'setPeers') return setPeers
      if (name === 'recipe') return { module: import.meta.url, make: 'ending', options }
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
}
