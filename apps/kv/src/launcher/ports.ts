/** Whether every address that the servers will need is free, before any of them starts. */

import { createServer } from 'node:net'
import { formatAddress, type HostPort, type Member } from '../cluster/members.js'
import { ListenError } from '../cli/exit-codes.js'

/** Rejects with ListenError at the first that is not; `remedy`: what helps then. */
export async function checkPorts(members: readonly Member[], remedy: string): Promise<void> {
  for (const { id, redis, peer } of members) {
    await checkPort(redis, `${id}'s clients`, remedy)
    await checkPort(peer, `${id}'s peers`, remedy)
  }
}

/** Rejects with ListenError when servers that use the folder may still run: somebody listens where they would. */
export async function checkStopped(members: readonly Member[], dataDir: string): Promise<void> {
  for (const { id, redis, peer } of members) {
    for (const address of [redis, peer]) {
      if ((await whyTaken(address))?.code !== 'EADDRINUSE') continue
      const where = `${formatAddress(address)} is in use, where ${id} of the cluster in ${dataDir} listens`
      throw new ListenError(`${where}: stop that cluster before --fresh deletes its data`)
    }
  }
}

async function checkPort(address: HostPort, purpose: string, remedy: string): Promise<void> {
  const error = await whyTaken(address)
  if (error === null) return
  const taken = error.code === 'EADDRINUSE'
  const why = taken ? `is taken by another process; ${remedy}` : `cannot be used: ${error.message}`
  throw new ListenError(`${formatAddress(address)}, for ${purpose}, ${why}`)
}

/** Null: it is free. */
function whyTaken(address: HostPort): Promise<NodeJS.ErrnoException | null> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', resolve)
    server.listen({ ...address, exclusive: true }, () => server.close(() => resolve(null)))
  })
}
