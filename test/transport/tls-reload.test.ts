/** Certificates, CAs and tokens that are read anew while servers talk. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { RaftError } from '#balsa/errors.js'
import type { Site } from '#balsa/testing/conformance/site.js'
import type { Clock } from '#balsa/types.js'
import { tcp, type TcpTransport, type TlsOptions, type Token } from '#balsa/transport/tcp/index.js'

import { Authority, noCertificates } from '../../support/certificates.js'
import { testUnless } from '../support/skip.js'
import { until } from '../support/until.js'
import { MachineClock } from './machine-clock.js'
import { type Context, start } from './raw-peer.js'

const test = suite<Context>('reload of TLS and tokens')
const authorities = noCertificates === null ? [new Authority('old'), new Authority('new')] : []
const [old, fresh] = authorities

test.before.each((context) => {
  context.clock = new MachineClock()
  context.open = []
})

test.after.each(async (context) => {
  for (const one of context.open.reverse()) await one.close()
  assert.is(context.clock.pending.size, 0, 'timers are left')
})

test.after(() => {
  for (const one of authorities) one.close()
})

function check(name: string, run: (context: Context) => Promise<void>): void {
  testUnless(test, noCertificates, name, run)
}

class Server {
  readonly site: Site
  readonly transport: TcpTransport
  readonly address: string
  readonly files: Files

  private constructor(files: Files, started: Awaited<ReturnType<typeof start>>) {
    this.files = files
    this.site = started.site
    this.transport = started.transport
    this.address = started.address
  }

  static async start(context: Context, id: string, token?: Token): Promise<Server> {
    const files = new Files(id, token)
    const given = token === undefined ? {} : { token: () => files.token ?? '' }
    return new Server(files, await start(context, id, { tls: () => files.tls, ...given }))
  }
}

/** What is read of one server: as files are, changed one by one. */
class Files {
  readonly #names: readonly string[]
  tls: TlsOptions
  token: Token | undefined

  constructor(id: string, token: Token | undefined) {
    this.#names = [`DNS:${id}.test`]
    this.token = token
    this.tls = { ca: old?.pem ?? '', san: 'DNS:{id}.test' }
    this.issue(old)
  }

  issue(by: Authority | undefined): void {
    this.tls = { ...this.tls, ...by?.issue({ names: this.#names }) }
  }

  believe(...believed: readonly (Authority | undefined)[]): void {
    this.tls = { ...this.tls, ca: believed.map((one) => one?.pem ?? '').join('') }
  }
}

async function connected(context: Context, token?: Token): Promise<readonly [Server, Server]> {
  const [a, b] = [await Server.start(context, 'a', token), await Server.start(context, 'b', token)]
  a.transport.setPeers([{ id: 'b', address: b.address }])
  b.transport.setPeers([{ id: 'a', address: a.address }])
  await Promise.all([a.site.up('b'), b.site.up('a')])
  return [a, b]
}

const ends = ({ site }: Server): number => site.sessions.filter(({ type }) => type === 'down').length
const isUp = ({ site }: Server): boolean => site.sessions.at(-1)?.type === 'up'
const reloadBoth = async (...servers: readonly Server[]): Promise<void> => {
  await Promise.all(servers.map(({ transport }) => transport.reload()))
}

check(
  'one authority replaces another by way of both, and only what is left of the old one is made anew',
  async (context) => {
    const [a, b] = await connected(context)
    for (const { files } of [a, b]) files.believe(old, fresh)
    await reloadBoth(a, b)
    for (const { files } of [a, b]) files.issue(fresh)
    await reloadBoth(a, b)
    assert.equal([ends(a), ends(b)], [0, 0], 'all that was connected is still believed')
    for (const { files } of [a, b]) files.believe(fresh)
    await reloadBoth(a, b)
    await until('all is made anew', () => ends(a) === 1 && ends(b) === 1 && isUp(a) && isUp(b))
    const reasons = [a, b].flatMap(({ site }) =>
      site.lines.filter(({ event }) => event === 'transport.peer-down').map(({ fields }) => String(fields['reason'])),
    )
    for (const reason of reasons)
      assert.match(reason, /the certificate of who .* is no longer believed: no CA in tls\.ca/)
  },
)

check('whoever is believed no more is cut off at once, and let in again with a new certificate', async (context) => {
  const [a, b] = await connected(context)
  a.files.issue(fresh)
  a.files.believe(fresh, old)
  await a.transport.reload()
  assert.is(ends(b), 0, 'what a shows is looked at when hands are shaken')
  b.files.believe(fresh)
  await b.transport.reload()
  await until('b has ended what was made with the old one', () => ends(b) === 1 && isUp(b))
  a.files.believe(fresh)
  await a.transport.reload()
  await until('a refuses b', () =>
    b.site.lines.some(
      ({ event, fields }) => event === 'transport.dial-failed' && /is not believed/.test(String(fields['reason'])),
    ),
  )
  b.files.issue(fresh)
  await b.transport.reload()
  await until('all is well', () => isUp(a) && isUp(b))
})

const unusable: Readonly<Record<string, readonly [(files: Files) => void, RegExp]>> = {
  'a key of another certificate': [
    (files) => (files.tls = { ...files.tls, ...(old && { key: old.issue({ names: [] }).key }) }),
    /tcp: tls\.key is not the key of tls\.cert: give the two/,
  ],
  'a certificate that is cut off': [
    (files) => (files.tls = { ...files.tls, cert: String(files.tls.cert).replace(/\n.{8}/, '\n') }),
    /tcp: tls\.cert has no certificate that can be read/,
  ],
  'an expired certificate': [
    (files) => (files.tls = { ...files.tls, ...old?.issue({ names: ['DNS:a.test'], days: -1 }) }),
    /tcp: tls\.cert: it has expired, on .*: renew it/,
  ],
  'the certificate of another server': [
    (files) => (files.tls = { ...files.tls, ...old?.issue({ names: ['DNS:b.test'] }) }),
    /tcp: tls\.cert has DNS:b\.test, and as server a must have DNS:a\.test/,
  ],
  'no file': [
    (files) =>
      Object.defineProperty(files, 'tls', {
        get: () => {
          throw new Error('ENOENT: no such file')
        },
      }),
    /tcp: the function tls has failed: ENOENT: no such file/,
  ],
  'a short token': [(files) => (files.token = 'short'), /tcp: token must be a string of 16 \.\. 1024 bytes/],
  'a name that is misspelt': [
    (files) => (files.tls = { ...files.tls, certt: '' } as never),
    /tcp: tls: option certt is unknown: did you mean cert\?/,
  ],
}

for (const [what, [spoil, words]] of Object.entries(unusable)) {
  check(`a reload that finds ${what} says so, and what was in force stays`, async (context) => {
    const [a, b] = await connected(context, 'the token of this cluster')
    spoil(a.files)
    const error = await a.transport.reload().then(
      () => null,
      (caught: unknown) => caught,
    )
    assert.instance(error, RaftError)
    assert.is((error as RaftError).code, 'ERR_RAFT_OPTIONS')
    assert.match(String(error), words)
    // Both dial anew.
    a.transport.setPeers([])
    b.transport.setPeers([])
    await until('all is down', () => ends(a) === 1 && ends(b) === 1)
    a.transport.setPeers([{ id: 'b', address: b.address }])
    b.transport.setPeers([{ id: 'a', address: a.address }])
    await until('all is up again', () => isUp(a) && isUp(b))
  })
}

check('a token is replaced by way of both, and who has only the old one is cut off', async (context) => {
  const [first, second] = ['the first token of all', 'the second token of all']
  const [a, b] = await connected(context, first)
  for (const token of [
    [first, second],
    [second, first],
  ]) {
    for (const { files, transport } of [a, b]) {
      files.token = token
      await transport.reload()
    }
  }
  assert.equal([ends(a), ends(b)], [0, 0])
  a.files.token = second
  await a.transport.reload()
  await until('b has dialled anew, with the second', () => ends(b) === 1 && isUp(b))
  a.files.token = 'the third token of all'
  await a.transport.reload()
  await until('b is refused', () => b.site.warnings('has not proven the token').length > 0)
  assert.not.ok(isUp(b))
})

check('reloads that come at once are one, and each sees what was there when it was asked for', async (context) => {
  const { files, transport } = await Server.start(context, 'a')
  let reads = 0
  const { tls } = files
  Object.defineProperty(files, 'tls', { get: () => ((reads += 1), tls) })
  await Promise.all(Array.from({ length: 50 }, () => transport.reload()))
  assert.ok(reads >= 1 && reads <= 2, `${reads} reads`)
})

check('what cannot be reloaded says why', async (context) => {
  const message = (reloading: Promise<void>): Promise<string> => reloading.then(() => 'reloaded', String)
  const { transport } = await start(context, 'a')
  assert.match(await message(transport.reload()), 'nothing to reload: it was made without tls')
  const values = await start(context, 'b', { tls: new Files('b', undefined).tls })
  assert.match(await message(values.transport.reload()), 'nothing to reload: tls and token are values; give functions')
  const early = tcp({ listen: '127.0.0.1:0', tls: () => new Files('c', undefined).tls })
  assert.match(await message(early.reload()), 'not started')
  await early.close()
  assert.match(await message(early.reload()), 'is closed')
})

const misgiven: readonly (readonly [string, () => unknown, string])[] = [
  ['a token without tls', () => ({ token: 'x'.repeat(16) }), 'token needs the option tls'],
  ['no CA', () => ({ tls: { cert: '-----BEGIN ', key: '-----BEGIN ' } }), 'tls.ca is missing'],
  ['a key alone', () => ({ tls: { key: '-----BEGIN ', ca: '-----BEGIN ' } }), 'tls.cert is missing'],
  ['a server without a certificate', () => ({ tls: { ca: '-----BEGIN ' } }), 'a server needs cert and key'],
  ['a path in the place of PEM', () => ({ tls: { ca: '/etc/ca.pem' } }), 'tls.ca must be PEM'],
  ['a name of nobody', () => ({ tls: { ...anything(), san: 'DNS:kv.test' } }), 'tls.san is DNS:kv.test; it must be'],
  ['a name of a kind that there is not', () => ({ tls: { ...anything(), san: 'IP:{id}' } }), 'tls.san is IP:{id}'],
  [
    'a name that nobody asks for',
    () => ({ tls: { ...anything(), san: 'DNS:{id}', rejectUnauthorized: false } }),
    'leave one out',
  ],
  [
    'an old version',
    () => ({ tls: { ...anything(), minVersion: 'TLSv1.1' } }),
    'minVersion is TLSv1.1; must be TLSv1.2 or TLSv1.3',
  ],
  ['a short token', () => ({ tls: anything(), token: 'short' }), 'token must be a string of 16 .. 1024 bytes'],
  ['no token', () => ({ tls: anything(), token: [] }), 'or 1 .. 8 of them'],
]

const anything = (): object => ({ cert: '-----BEGIN ', key: '-----BEGIN ', ca: '-----BEGIN ' })

for (const [what, options, words] of misgiven) {
  test(`${what} is refused where it is given`, () => {
    assert.throws(
      () => tcp({ listen: '127.0.0.1:0', ...(options() as object) }),
      (error: unknown) =>
        error instanceof RaftError && error.code === 'ERR_RAFT_OPTIONS' && error.message.includes(words),
    )
  })
}

check('a token for nobody in particular is refused where it is read', async (context) => {
  const tls = { ...new Files('a', undefined).tls, rejectUnauthorized: false }
  const { san: _, ...rest } = tls
  const started = start(context, 'a', { tls: rest, token: 'the token of this cluster' })
  assert.match(await started.then(() => 'started', String), 'token is for those who know whom they dial')
})

check('a function that never answers is given up, and so is one that is given what is no option', async (context) => {
  const clock = context.clock
  const transport = tcp({ listen: '127.0.0.1:0', tls: () => new Promise<TlsOptions>(() => {}) })
  context.open.push(transport)
  const hurried: Clock = {
    now: () => clock.now(),
    wallNow: () => clock.wallNow(),
    defer: (callback) => clock.defer(callback),
    setTimer: (_, callback) => clock.setTimer(1, callback),
  }
  const asked = transport.ask('127.0.0.1:1', Uint8Array.of(1), hurried)
  assert.match(await asked.then(String, String), 'the function tls has read nothing within 10000 ms')
})

test.run()
