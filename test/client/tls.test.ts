/** Clients over TLS: whom they believe, who believes them, and what a reload does to what is under way. */

import type { AddressInfo } from 'node:net'
import { createServer } from 'node:tls'
import { inspect } from 'node:util'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { msgpackCodec, RaftError } from 'balsa-raft'
import { RaftClient } from 'balsa-raft/client'
import type { ClientOptions, TlsOptions } from 'balsa-raft/client'
import { encodeClientWelcome, FEATURES, PROTOCOL } from 'balsa-raft/transport'
import { MAGIC } from '#balsa/transport/tcp/connection.js'
import { Authority, noCertificates } from '../../support/certificates.js'
import { testUnless } from '../support/skip.js'
import { until } from '../support/until.js'
import { Site } from './site.js'

const TOKEN = 'Kq3vT0m-secret-of-all'

class World {
  readonly authority = new Authority()
  readonly foreign = new Authority('another authority')
  /** What the servers read. */
  readonly files = { tls: this.#good(['s1', 's2', 's3'].map((id) => `DNS:${id}.test`)), token: TOKEN }
  readonly site: Site

  constructor() {
    this.site = new Site({}, () => ({ tls: () => this.files.tls, token: () => this.files.token }))
  }

  /** What a client has when all is well: a certificate that is no server's. */
  get client(): TlsOptions {
    return this.#good(['URI:client:1'])
  }

  /** None of its own, and another authority for what it believes. */
  get stranger(): TlsOptions {
    return { ...this.client, ca: this.foreign.pem }
  }

  #good(names: readonly string[]): TlsOptions {
    return { ...this.authority.issue({ names }), ca: this.authority.pem, san: 'DNS:{id}.test' }
  }

  async close(): Promise<void> {
    await this.site.closeAll()
    this.authority.close()
    this.foreign.close()
  }
}

const test = suite<{ world: World }>('clients over TLS')

test.before(async (context) => {
  if (noCertificates !== null) return
  context.world = new World()
  await context.world.site.openAll()
})

test.after(({ world }) => world?.close())

function check(name: string, run: (world: World) => Promise<void>): void {
  testUnless(test, noCertificates, name, ({ world }) => run(world))
}

async function refusal(connecting: Promise<unknown>): Promise<RaftError> {
  const error = await connecting.then(
    () => null,
    (caught: unknown) => caught,
  )
  assert.instance(error, RaftError)
  return error as RaftError
}

check('a client with a certificate and the token is served', async (world) => {
  const client = await world.site.connect({ tls: world.client, token: TOKEN })
  assert.is(await client.submit('one'), 'one')
  assert.ok(Number(await client.query('count')) >= 1)
  assert.not.ok(inspect(client, { depth: Infinity, showHidden: true }).includes(TOKEN))
})

const refused: Readonly<Record<string, readonly [(world: World) => Partial<ClientOptions<unknown>>, RegExp]>> = {
  'without TLS': [() => ({}), /one side speaks TLS, and the other does not/],
  'that believes another authority': [
    (world) => ({ tls: world.stranger, token: TOKEN }),
    /the certificate of who listens at .* is not believed/,
  ],
  'with a certificate of another authority': [
    (world) => ({ tls: { ...world.client, ...world.foreign.issue({ names: [] }) }, token: TOKEN }),
    /refused by the peer .* the certificate of who dials is not believed/,
  ],
  'without a certificate': [
    (world) => ({ tls: { ca: world.authority.pem, san: 'DNS:{id}.test' }, token: TOKEN }),
    /the certificate of who dials is missing/,
  ],
  'with another token': [
    (world) => ({ tls: world.client, token: 'x'.repeat(32) }),
    /has not proven the token of this cluster/,
  ],
  'that looks for servers of other names': [
    (world) => ({ tls: { ...world.client, san: 'DNS:{id}.elsewhere' }, token: TOKEN }),
    /must have the alternative name DNS:\{id\}\.elsewhere, and has DNS:s1\.test/,
  ],
}

for (const [what, [options, words]] of Object.entries(refused)) {
  check(`a client ${what} is told so at once`, async (world) => {
    const error = await refusal(world.site.connect(options(world)))
    assert.is(error.code, 'ERR_RAFT_UNAUTHENTICATED')
    assert.is(error.outcome, 'not-applied')
    assert.not.ok(error.retryable)
    assert.match(error.message, words)
    assert.not.ok(inspect(error, { depth: Infinity }).includes(TOKEN))
  })
}

check('a server with the certificate of another one is not the one that it says it is', async (world) => {
  const impostor = createServer({ ...world.authority.issue({ names: ['DNS:s9.test'] }), ALPNProtocols: ['balsa'] })
  const welcome = { protocol: PROTOCOL, features: FEATURES, clusterId: '1'.repeat(32), serverId: 's1' }
  impostor.on('secureConnection', (socket) => {
    socket.on('error', () => {})
    socket.write(Buffer.concat([MAGIC, encodeClientWelcome(welcome)]))
    socket.resume()
  })
  await new Promise<void>((resolve) => impostor.listen(0, '127.0.0.1', resolve))
  try {
    const endpoints = [`127.0.0.1:${(impostor.address() as AddressInfo).port}`]
    const error = await refusal(world.site.connect({ endpoints, tls: world.client, token: TOKEN }))
    assert.is(error.code, 'ERR_RAFT_UNAUTHENTICATED')
    assert.match(error.message, 'who calls itself s1 must have the alternative name DNS:s1.test, and has DNS:s9.test')
  } finally {
    await new Promise((resolve) => impostor.close(resolve))
  }
})

check('what is under way when a client reloads is answered, and it goes on over another connection', async (world) => {
  let token = TOKEN
  let connected = 0
  const tls = world.client
  const info = (event: string): void => void (connected += Number(event === 'client.connected'))
  const logger = { debug: () => {}, info, warn: () => {}, error: () => {} }
  const client = await world.site.connect({ tls: () => tls, token: () => token, logger })
  const submitted: Promise<unknown>[] = []
  for (let round = 0; round < 20; round += 1) {
    for (let one = 0; one < 20; one += 1) submitted.push(client.submit(`${round}.${one}`, { retry: false }))
    await client.reload()
  }
  const outcomes = await Promise.all(submitted.map((each) => each.then(String, String)))
  assert.is(outcomes.filter((outcome) => outcome.includes('ERR')).length, 0)
  assert.is(new Set(outcomes).size, 400)
  await until('it has dialled anew', () => connected >= 2)
  token = 'short'
  assert.match((await refusal(client.reload())).message, 'RaftClient.connect: token must be a string of 16')
  assert.is(await client.submit('after that'), 'after that')
})

check('servers and clients go from one token to another, and nothing is lost', async (world) => {
  const next = 'the next secret of all'
  let token: string | readonly string[] = TOKEN
  const tls = world.client
  const client = await world.site.connect({ tls: () => tls, token: () => token })
  const reloadAll = async (given: string | readonly string[]): Promise<void> => {
    Object.assign(world.files, { token: given })
    token = given
    for (const transport of world.site.transports.values()) await transport.reload()
    await client.reload()
  }
  const submitted: Promise<unknown>[] = []
  for (const given of [[TOKEN, next], [next, TOKEN], next, [next, TOKEN], [TOKEN, next], TOKEN]) {
    submitted.push(client.submit(given))
    await reloadAll(given)
    await until('the client is connected', () => client.status.server !== null)
    submitted.push(client.submit(given))
  }
  assert.is((await Promise.all(submitted)).length, 12)
})

check('a server that a client believes no more is left at once', async (world) => {
  let ca = world.authority.pem
  const own = world.client
  const client = await world.site.connect({ tls: () => ({ ...own, ca }), token: TOKEN })
  ca = world.foreign.pem
  await client.reload()
  await until('it is left', () => client.status.server === null)
  await until('nobody else is believed', () => Object.keys(client.status.failures).length >= 1)
  ca = world.authority.pem
  await client.reload()
  assert.is(await client.submit('again', { timeoutMs: 20_000 }), 'again')
})

test('a client with a token and no TLS is refused, as is a reload without either', async () => {
  const options = { endpoints: ['127.0.0.1:1'], codec: msgpackCodec<unknown>(), token: TOKEN }
  const error = await refusal(RaftClient.connect(options))
  assert.is(error.code, 'ERR_RAFT_OPTIONS')
  assert.match(error.message, 'RaftClient.connect: token needs the option tls')
  assert.not.ok(error.message.includes(TOKEN))
})

test.run()
