/**
 * What callers give is checked where they give it: the refusal names the thing, the bound and the remedy, and never
 * comes as a bare TypeError.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { fileStore, nativeStore, Raft, RaftError } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'
import { systemClock } from '#balsa/clock.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import { failure } from '../support/failure.js'
import { LoneServer, optionsOf, StageTransport } from '../support/lone-server.js'

/** Calls that no compiler would let pass. */
type Loose = (...given: unknown[]) => unknown
type LooseRaft = Readonly<
  Record<'ready' | 'apply' | 'applyAll' | 'barrier' | 'read' | 'readIndex' | 'verifyLeader' | 'on', Loose>
>

const test = suite<{ server: LoneServer; raft: LooseRaft }>('what callers give')

test.before.each(async (context) => {
  context.server = await LoneServer.open()
  const { raft } = context.server
  context.raft = new Proxy(raft, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  }) as unknown as LooseRaft
})
test.after.each(({ server }) => server.close())

const open = (options: unknown): Promise<unknown> =>
  (Raft.open as unknown as (options: unknown) => Promise<unknown>)(options)

function refusalOf(call: () => unknown): RaftError {
  try {
    call()
  } catch (error) {
    if (error instanceof RaftError) return error
    throw error
  }
  throw new Error('it should have thrown')
}

test('Raft.open is refused with a promise, whatever it is given', async () => {
  for (const given of [undefined, null, 1, 's1', [], () => {}]) {
    const error = await failure(open(given))
    assert.is(error.code, 'ERR_RAFT_OPTIONS')
    assert.match(error.message, /^Raft\.open takes an object of options/)
  }
})

test('options of Raft.open are refused by name and reason', async () => {
  const good = optionsOf(memoryStore(), new StageTransport())
  const table: readonly [object, RegExp][] = [
    [{ heartbeat: 100 }, /^Raft\.open: option heartbeat is unknown: did you mean heartbeatMs\? It takes id, dir, /],
    [{ electionTimeoutMS: 100 }, /option electionTimeoutMS is unknown: did you mean electionTimeoutMs\?/],
    [{ statemachine: {} }, /option statemachine is unknown: did you mean stateMachine\?/],
    [{ store: fileStore() }, /option store is unknown: did you mean storage\?/],
    [{ bootstap: [] }, /option bootstap is unknown: did you mean bootstrap\?/],
    [{ tls: undefined }, /option tls is unknown/],
    [{ id: undefined }, /^option id must be a string/],
    [{ bootstrap: 's1' }, /^option bootstrap must be a list/],
    [{ bootstrap: [null] }, /^option bootstrap has no \{ id, address \} at place 1/],
    [{ bootstrap: [...(good.bootstrap ?? []), 's4'] }, /^option bootstrap has no \{ id, address \} at place 4/],
    [{ bootstrap: [{ id: 's1' }] }, /^option bootstrap: address/],
    [
      { bootstrap: [{ id: 's1', adress: 's1:1' }] },
      /^a server of bootstrap: option adress is unknown: did you mean address\? It takes id, address/,
    ],
    [
      { bootstrap: [{ id: 's1', address: 's1:1', nonvoter: true }] },
      /^a server of bootstrap: option nonvoter is unknown/,
    ],
    [{ acceptPeerBoot: [{ toString: () => assert.unreachable() }] }, /^option acceptPeerBoot names an object, which/],
    [{ transport: null }, /^option transport must be a transport/],
    [{ stateMachine: null }, /^option stateMachine must have an apply function/],
    [{ stateMachine: { ...good.stateMachine, apply: () => [], query: 1 } }, /^option stateMachine.*query/],
    [{ codec: 7 }, /^option codec must have encode and decode functions/],
    [{ resultCodec: { encode: () => {} } }, /^option resultCodec must have encode and decode functions/],
    [{ storage: 'native' }, /^option storage must be a store, such as nativeStore\(\) or fileStore\(\)/],
    [{ storage: fileStore }, /^option storage must be a store/],
    [{ logger: console.log }, /^option logger must have the functions debug, info, warn and error/],
    [{ logger: { info: () => {} } }, /^option logger must have the functions/],
    [{ clock: Date }, /^option clock must have the functions now, wallNow, setTimer and defer/],
    [{ random: 0.5 }, /^option random must be a function that draws/],
    [{ acceptCopiedfolder: true }, /option acceptCopiedfolder is unknown: did you mean acceptCopiedFolder\?/],
    [{ acceptCopiedFolder: 'yes' }, /^option acceptCopiedFolder must be true or false/],
    [{ heartbeatMs: '100' }, /^option heartbeatMs is 100; must be a number of 10 \.\. 60000/],
    [{ electionTimeoutMs: NaN }, /^option electionTimeoutMs is NaN/],
    [{ electionPriority: 5 }, /^option electionPriority is 5; must be a number of 0 \.\. 4/],
    [{ electionPriority: 0.5 }, /^option electionPriority is 0\.5; must be a whole number/],
  ]
  for (const [wrong, message] of table) {
    const error = await failure(open({ ...good, ...wrong }))
    assert.is(error.code, 'ERR_RAFT_OPTIONS')
    assert.match(error.message, message)
  }
})

test('options that cannot be read are refused with the reason', async () => {
  const good = optionsOf(memoryStore(), new StageTransport())
  const get = (): never => {
    throw new Error('out of reach')
  }
  const revoked = Proxy.revocable([], {})
  revoked.revoke()
  const table: readonly [object, RegExp][] = [
    [Object.defineProperty({ ...good }, 'codec', { get, enumerable: true }), /: Error: out of reach/],
    [new Proxy(good, { ownKeys: get }), /: Error: out of reach/],
    [{ ...good, bootstrap: [Object.defineProperty({ address: 's1:1' }, 'id', { get })] }, /: Error: out of reach/],
    [{ ...good, bootstrap: revoked.proxy }, /: TypeError: /],
  ]
  for (const [options, message] of table) {
    const error = await failure(open(options))
    assert.is(error.code, 'ERR_RAFT_OPTIONS')
    assert.match(error.message, /^the options of Raft\.open cannot be read: /)
    assert.match(error.message, message)
  }
})

test('a bootstrap address is one that the transport can dial, or is refused before anything is stored', async () => {
  const transport = tcp({ listen: '127.0.0.1:0' })
  for (const address of [
    'kv-1',
    '127.0.0.1',
    '::1',
    '::1:7600',
    'kv-1:',
    'kv-1:0',
    'kv-1:70000',
    ' kv-1:7600',
    'http://kv-1:7600',
  ]) {
    const storage = memoryStore()
    const bootstrap = [
      { id: 's1', address },
      { id: 's2', address: 'kv-2:7600' },
    ]
    const error = await failure(open({ ...optionsOf(storage, transport), bootstrap }))
    assert.is(error.code, 'ERR_RAFT_OPTIONS', address)
    assert.match(error.message, /^option bootstrap gives s1 the address/)
    assert.ok(error.message.includes(address) && error.message.includes('host:port'), error.message)
    assert.is(storage.disk('/s1').bootCounter, 0)
  }
  const bootstrap = ['[::1]:7600', 'kv-1.internal:7600', '127.0.0.1:7601'].map((address, at) => ({
    id: `s${at + 1}`,
    address,
  }))
  const raft = await Raft.open({ ...optionsOf(memoryStore(), transport), bootstrap })
  await raft.close()
})

test('options of a call are refused with a promise, by name', async ({ raft }) => {
  const calls: readonly (readonly [string, (options: unknown) => unknown])[] = [
    ['ready', (options) => raft.ready(options)],
    ['apply', (options) => raft.apply({ add: 1 }, options)],
    ['applyAll', (options) => raft.applyAll([{ add: 1 }], options)],
    ['applyAll of nothing', (options) => raft.applyAll([], options)],
    ['barrier', (options) => raft.barrier(options)],
    ['read', (options) => raft.read('total', options)],
    ['stale read', (options) => raft.read('total', { consistency: 'stale', ...(options as object) })],
    ['readIndex', (options) => raft.readIndex(options)],
    ['verifyLeader', (options) => raft.verifyLeader(options)],
  ]
  const table: readonly [unknown, RegExp][] = [
    [{ timeoutMs: 0 }, /^option timeoutMs is 0; must be a number of 1 \.\. 2147483647/],
    [{ timeoutMs: -1 }, /^option timeoutMs is -1/],
    [{ timeoutMs: NaN }, /^option timeoutMs is NaN/],
    [{ timeoutMs: Infinity }, /^option timeoutMs is Infinity/],
    [{ timeoutMs: '100' }, /^option timeoutMs is 100; must be a number/],
    [{ timeoutMs: null }, /^option timeoutMs is null/],
    [{ timeoutMs: Object.create(null) }, /^option timeoutMs is an object/],
    [{ signal: 'now' }, /^option signal must be an AbortSignal/],
    [{ signal: new AbortController() }, /^option signal must be an AbortSignal/],
    [{ timeout: 100 }, /option timeout is unknown: did you mean timeoutMs\?/],
    [{ signals: [] }, /option signals is unknown: did you mean signal\?/],
  ]
  for (const [name, call] of calls) {
    for (const [options, message] of table) {
      const answer = call(options)
      assert.ok(answer instanceof Promise, name)
      const error = await failure(answer)
      assert.is(error.code, 'ERR_RAFT_OPTIONS', name)
      assert.match(error.message, message, name)
    }
    if (name === 'stale read') continue
    for (const options of [null, 5, 'soon', []]) {
      const error = await failure(call(options) as Promise<unknown>)
      assert.is(error.code, 'ERR_RAFT_OPTIONS', name)
      assert.match(error.message, /takes an object of options/, name)
    }
  }
})

test('a consistency that there is not is refused, and a reader is told of those that there are', async ({ raft }) => {
  const error = await failure(raft.read('total', { consistency: 'eventual' }) as Promise<unknown>)
  assert.is(error.code, 'ERR_RAFT_OPTIONS')
  assert.match(error.message, /^option consistency is eventual; must be linearizable, lease or stale/)
  const other = await failure(raft.apply({ add: 1 }, { consistency: 'stale' }) as Promise<unknown>)
  assert.match(other.message, /^apply: option consistency is unknown/)
})

test('applyAll of what is no list is refused with a promise', async ({ raft }) => {
  for (const given of [1, undefined, null, 'abc', { length: 3 }, new Set([1])]) {
    const error = await failure(raft.applyAll(given) as Promise<unknown>)
    assert.is(error.code, 'ERR_RAFT_OPTIONS')
    assert.match(error.message, /^applyAll takes an array of commands/)
  }
})

test('an event that there is not, and a listener that is none, are refused by name', ({ raft }) => {
  const unknown = refusalOf(() => raft.on('nonsense', () => {}))
  assert.is(unknown.code, 'ERR_RAFT_OPTIONS')
  assert.match(
    unknown.message,
    /^event nonsense is unknown: did you mean \w+\? There are leader, role, peer, refused, snapshot, stall, fault/,
  )
  assert.match(refusalOf(() => raft.on('leaders', () => {})).message, /did you mean leader\?/)
  assert.match(refusalOf(() => raft.on('toString', () => {})).message, /^event toString is unknown/)
  assert.match(refusalOf(() => raft.on(Symbol('leader'), () => {})).message, /^event Symbol\(leader\) is unknown/)
  assert.match(refusalOf(() => raft.on(undefined, () => {})).message, /^event undefined is unknown/)
  for (const listener of [undefined, null, 'log']) {
    assert.match(refusalOf(() => raft.on('leader', listener)).message, /^the listener of leader must be a function/)
  }
})

test('options of transports and stores are refused by name', () => {
  const clock = systemClock()
  const table: readonly (readonly [() => unknown, RegExp])[] = [
    [() => (tcp as Loose)(), /^tcp takes an object of options/],
    [() => (tcp as Loose)('127.0.0.1:7600'), /^tcp takes an object of options/],
    [() => (tcp as Loose)({ listen: 7600 }), /^tcp: listen is 7600; it must be host:port/],
    [
      () => (tcp as Loose)({ listen: '127.0.0.1:0', advertised: 'x:1' }),
      /^tcp: option advertised is unknown: did you mean advertise\?/,
    ],
    [() => (tcp as Loose)({ listen: '127.0.0.1:0', handshakeTimeout: 1 }), /did you mean handshakeTimeoutMs\?/],
    [() => (tcp as Loose)({ listen: '127.0.0.1:0', random: 1 }), /^tcp: random must be a function/],
    [() => (tcp as Loose)({ listen: '127.0.0.1:0', dialTimeoutMs: '100' }), /^tcp: dialTimeoutMs is 100; it must be/],
    [() => (fileStore as Loose)({ path: '/x' }), /^fileStore: option path is unknown: fileStore takes no options/],
    [
      () => (nativeStore as Loose)({ mapByte: 2 ** 30 }),
      /^nativeStore: option mapByte is unknown: did you mean mapBytes\? It takes mapBytes, mode$/,
    ],
    [() => (nativeStore as Loose)({ mode: 'wal' }), /^option mode is "wal"; it must be one of lmdb, journal$/],
    [() => (fileStore as Loose)('/data'), /^fileStore takes no options/],
    [
      () => (memoryStore as Loose)({ capacity: 1 }),
      /^memoryStore: option capacity is unknown: did you mean capacityBytes\?/,
    ],
    [() => (memoryStore as Loose)({ logBytes: 1 }), /did you mean logBytesMax\?/],
    [
      () => new (MemoryNetwork as unknown as new (given: unknown) => unknown)({ clock, manuel: true }),
      /^MemoryNetwork: option manuel is unknown: did you mean manual\?/,
    ],
  ]
  for (const [call, message] of table) {
    const error = refusalOf(call)
    assert.is(error.code, 'ERR_RAFT_OPTIONS')
    assert.match(error.message, message)
  }
})

test.run()
