/**
 * Loopback ports and addresses that nobody listens on at this moment.
 *
 * They lie below the range from which the kernel takes the ports of outgoing connections: one drawn from that range
 * could be taken, before a server listens on it, by a connection that the servers of the same test or bench make to
 * each other.
 */

import { createServer } from 'node:net'

const FIRST = 10_240
/** The kernel's range begins at 32768; some ports above the last are left for `port + 100`. */
const COUNT = 22_000

/** Processes that look at the same time, as test files do, begin at other places, and go up from there. */
let next = (process.pid * 331) % COUNT

export async function freePort(): Promise<number> {
  for (let tried = 0; tried < COUNT; tried += 1) {
    const port = FIRST + next
    next = (next + 1) % COUNT
    if (await isFree(port)) return port
  }
  throw new Error(`no port of ${FIRST} .. ${FIRST + COUNT - 1} is free`)
}

export async function freePorts(count: number): Promise<readonly number[]> {
  const ports: number[] = []
  while (ports.length < count) ports.push(await freePort())
  return ports
}

export async function freeAddresses(count: number): Promise<readonly string[]> {
  return (await freePorts(count)).map((port) => `127.0.0.1:${port}`)
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
