/**
 * Three servers and a client under mutual TLS, while writers write: every certificate and the authority behind all of
 * them is replaced, server by server, by way of both authorities. What was acknowledged is in every list, once.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { RaftError } from 'balsa-raft'
import type { TlsOptions } from 'balsa-raft/transport/tcp'
import { Authority, noCertificates } from '../../support/certificates.js'
import { Site } from '../client/site.js'
import { testUnless } from '../support/skip.js'

const test = suite('reload of all certificates under load')

/** What one process reads, as files are. */
class Files {
  readonly #names: readonly string[]
  tls: TlsOptions

  constructor(names: readonly string[], authority: Authority) {
    this.#names = names
    this.tls = { ...authority.issue({ names }), ca: authority.pem, san: 'DNS:{id}.test' }
  }

  issue(by: Authority): void {
    this.tls = { ...this.tls, ...by.issue({ names: this.#names }) }
  }

  believe(...believed: readonly Authority[]): void {
    this.tls = { ...this.tls, ca: believed.map(({ pem }) => pem).join('') }
  }
}

interface Written {
  readonly acknowledged: unknown[]
  /** Nobody knows: in the list once, or not at all. */
  readonly unknown: unknown[]
}

/** One after the other until `isOver`; counts up. */
async function write(
  name: string,
  one: (command: string) => Promise<unknown>,
  progress: { readonly isOver: boolean; count: number },
): Promise<Written> {
  const written: Written = { acknowledged: [], unknown: [] }
  for (let at = 0; !progress.isOver; at += 1) {
    const command = `${name} ${at}`
    try {
      await one(command)
      written.acknowledged.push(command)
    } catch (error) {
      if (!(error instanceof RaftError)) throw error
      if (error.outcome === 'unknown') written.unknown.push(command)
      else if (!error.retryable) throw error
    }
    progress.count += 1
  }
  return written
}

testUnless(test, noCertificates, 'nothing that was acknowledged is lost, and nobody is elected anew', async () => {
  const [old, fresh] = [new Authority('old'), new Authority('new')]
  const files = new Map(['s1', 's2', 's3', 'client'].map((id) => [id, new Files([`DNS:${id}.test`], old)]))
  const read = (id: string) => (): TlsOptions => files.get(id)?.tls ?? { ca: '' }
  const site = new Site({}, (id) => ({ tls: read(id) }))
  try {
    await site.openAll()
    const client = await site.connect({ tls: read('client') })
    const { leader, follower } = site
    const { term } = leader.status
    const session = await client.openSession()
    const progress = { isOver: false, count: 0 }
    const writing = [
      write('apply', (command) => leader.apply(command), progress),
      write('submit', (command) => follower.submit(command), progress),
      write('session', (command) => session.apply(command), progress),
      write('client', (command) => client.submit(command), progress),
    ]
    const steps: readonly ((one: Files) => void)[] = [
      (one) => one.believe(old, fresh),
      (one) => one.issue(fresh),
      (one) => one.believe(fresh),
    ]
    for (const step of steps) {
      for (const [id, one] of files) {
        step(one)
        await (site.transports.get(id) ?? client).reload()
        const { count } = progress
        while (progress.count < count + 40) await new Promise(setImmediate)
      }
    }
    progress.isOver = true
    const written = await Promise.all(writing)
    assert.is(leader.status.term, term)
    assert.is(leader.status.role, 'leader')
    const times = new Map<unknown, number>()
    for (const value of await site.applied()) times.set(value, (times.get(value) ?? 0) + 1)
    for (const { acknowledged, unknown } of written) {
      for (const value of acknowledged) assert.is(times.get(value), 1, String(value))
      for (const value of unknown) assert.ok((times.get(value) ?? 0) <= 1, String(value))
    }
    assert.is(written[2]?.unknown.length, 0, 'a session knows what became of each')
    // The old authority counts for nothing any more.
    const late = new Files(['DNS:client.test'], old)
    late.believe(old, fresh)
    const refused = await site.connect({ tls: late.tls }).then(String, (error: unknown) => error)
    assert.is(refused instanceof RaftError && refused.code, 'ERR_RAFT_UNAUTHENTICATED')
    late.issue(fresh)
    late.believe(fresh)
    await site.connect({ tls: late.tls })
  } finally {
    await site.closeAll()
    old.close()
    fresh.close()
  }
})

test.run()
