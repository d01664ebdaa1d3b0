/**
 * Loopback ports and addresses that nobody listens on at this moment.
 *
 * They lie below the range from which the kernel takes the ports of outgoing connections: one drawn from that range could be
 * taken, before a server listens on it, by the connections that the servers of the same test make to each other.
 */

import { createServer } from 'node:net'

const FIRST = 10_240
/** The kernel's range begins at 32768; some ports above the last are left for `port + 100`. */
const COUNT = 22_000

/** Test files run at the same time, in processes of their own: each begins at another place, and goes up from there. */
let next = (process.pid * 331) % COUNT

export async function freePort(): Promise<number> {
  for (let tried = 0; tried < COUNT; tried += 1) {
    const port = FIRST + next
    next = (next + 1) % COUNT
    if (await isFree(port)) return port
  }
  throw new Error(`no port of ${FIRST} .. ${FIRST + COUNT - 1} is free`)
}

export async function freeAddresses(count: number): Promise<readonly string[]> {
  const addresses: string[] = []
  while (addresses.length < count) addresses.push(`127.0.0.1:${await freePort()}`)
  return addresses
}

/** The first of `count` ports in a row that are free, as are those 100 above. */
export async function freePortRow(count: number): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const first = FIRST + Math.floor(Math.random() * COUNT)
    const ports = Array.from({ length: count }, (_, at) => first + at)
    const free = await Promise.all([...ports, ...ports.map((port) => port + 100)].map(isFree))
    if (free.every(Boolean)) return first
  }
  throw new Error('no row of free ports was found')
}

function isFree(port: number): Promise<boolean> {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
