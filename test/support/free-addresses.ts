/** Loopback addresses that nobody listens on at this moment. */

import { createServer } from 'node:net'
import type { AddressInfo, Server } from 'node:net'

/** All are held at once while they are drawn, so no two are the same. */
export async function freeAddresses(count: number): Promise<readonly string[]> {
  const held = await Promise.all(Array.from({ length: count }, listen))
  const addresses = held.map((server) => `127.0.0.1:${(server.address() as AddressInfo).port}`)
  await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))))
  return addresses
}

function listen(): Promise<Server> {
  const server = createServer()
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(server))
  })
}
