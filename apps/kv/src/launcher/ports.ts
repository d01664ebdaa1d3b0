/** Whether every address the servers will need is free, before any of them starts. */

import { createServer } from 'node:net'
import { formatAddress, type HostPort, type Member } from '../cluster/members.js'
import { ListenError } from '../cli/exit-codes.js'

/** Rejects with ListenError at the first that is not. */
export async function checkPorts(members: readonly Member[]): Promise<void> {
  for (const { id, redis, peer } of members) {
    await checkPort(redis, `${id}'s clients`)
    await checkPort(peer, `${id}'s peers`)
  }
}

function checkPort(address: HostPort, purpose: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => {
      const taken = error.code === 'EADDRINUSE'
      const why = taken
        ? 'is taken by another process; --port can move all of them'
        : `cannot be used: ${error.message}`
      reject(new ListenError(`${formatAddress(address)}, for ${purpose}, ${why}`))
    })
    server.listen({ ...address, exclusive: true }, () => server.close(() => resolve()))
  })
}
