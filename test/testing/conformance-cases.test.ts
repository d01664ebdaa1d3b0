/**
 * The suites fail what is broken: a case that accepts everything looks exactly like a store or a transport that is
 * right.
 */

import { RaftError } from 'balsa-raft'
import { memorySnapshotStore, memoryStore } from 'balsa-raft/storage'
import type { LogStore, SnapshotStore, StoreProgress } from 'balsa-raft/storage'
import { logStoreConformance, snapshotStoreConformance, transportConformance } from 'balsa-raft/testing'
import type { ConformanceCase, LogStoreConformanceOptions, SnapshotStoreConformanceOptions } from 'balsa-raft/testing'
import { MemoryNetwork } from 'balsa-raft/transport/memory'
import type { Transport } from 'balsa-raft'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { termOf } from '#balsa/types.js'

import { MachineClock } from '../transport/machine-clock.js'

const test = suite('conformance suites')

/** A broken store: the memory store with some members replaced. */
type Breaking = (store: LogStore) => Partial<LogStore>

const storeDefects: readonly (readonly [string, Breaking, string])[] = [
  [
    'reports a ticket durable at once',
    (store) => {
      let last = 0
      return {
        submit: (operations) => (last = store.submit(operations)),
        poll: (): StoreProgress => ({ ...store.poll(), durable: last }),
      }
    },
    'a failed write poisons the store for good; a reopen shows everything that was durable',
  ],
  [
    'drops all but the first operation of a ticket',
    (store) => ({ submit: (operations) => store.submit(operations.slice(0, 1)) }),
    'one ticket takes effect whole: truncation, entries, hard state and facts together',
  ],
  [
    'gives more than was asked for',
    (store) => ({ read: (lo, _hi, maxBytes) => store.read(lo, (store.stats().lastIndex + 1) as typeof lo, maxBytes) }),
    'a read gives exactly the entries asked for, for every range, in intact blocks',
  ],
  [
    'ignores maxBytes',
    (store) => ({ read: (lo, hi) => store.read(lo, hi, 2 ** 30) }),
    'a read stays below maxBytes, makes progress with at least one entry, and goes on where it ended',
  ],
  [
    'compacts nothing',
    (store) => ({ submit: (operations) => store.submit(operations.filter(({ type }) => type !== 'compact')) }),
    'one ticket takes effect whole with a compaction in it: what stands before it, and what stands behind it',
  ],
  [
    'gives what comes first in place of what was compacted',
    (store) => ({
      read: (lo, hi, maxBytes) => store.read(Math.max(lo, store.stats().firstIndex) as typeof lo, hi, maxBytes),
    }),
    'C14 a read that began before a compaction gives the right entries or none; one below first gives no block',
  ],
  [
    'forgets what the term before first was',
    (store) => ({ open: async (onWake) => ({ ...(await store.open(onWake)), prevTerm: termOf(0) }) }),
    'a snapshot that keeps nothing replaces the log, shorter or longer than it, and the log goes on right behind it',
  ],
  [
    'accepts every block',
    () => ({ verify: () => true }),
    'seal gives the bytes of the pure seal, and verify refuses a block with any damage',
  ],
  [
    'wakes inside of submit',
    (store) => {
      let wake = (): void => {}
      return {
        open: (onWake) => store.open((wake = onWake)),
        submit(operations) {
          wake()
          return store.submit(operations)
        },
      }
    },
    'it wakes at most once for each group commit, and never inside a call',
  ],
  [
    'never wakes',
    (store) => ({ open: () => store.open(() => {}) }),
    'it wakes at most once for each group commit, and never inside a call',
  ],
  [
    'never finishes to open',
    () => ({ open: () => new Promise(() => {}) }),
    'a new store is empty, names its incarnation and counts its first boot',
  ],
]

for (const [what, breaking, name] of storeDefects) {
  test(`a store that ${what} fails the case about that`, async () => {
    await failing(logStoreConformance({ ...storeOptions(breaking), deadlineMs: 200 }), name)
  })
}

const snapshotDefects: readonly (readonly [string, (store: SnapshotStore) => Partial<SnapshotStore>, string])[] = [
  [
    'gives a sink that keeps what it was given',
    (store) => ({
      async create(header) {
        const sink = await store.create(header)
        const given: Uint8Array[] = []
        const finish = async () => {
          for (const data of given) await sink.write(data)
          return sink.finish()
        }
        return replacing(sink, { write: async (data) => void given.push(data), finish })
      },
    }),
    'what was given to write may be used again once that has resolved',
  ],
  [
    'lists the oldest first',
    (store) => ({
      async open() {
        const { whole, flawed } = await store.open()
        return { whole: whole.toReversed(), flawed }
      },
    }),
    'H1-24 the newest comes first: by term, then by index, not by id nor by when it was made',
  ],
  [
    'hides what is damaged',
    (store) => ({ open: async () => ({ ...(await store.open()), flawed: [] }) }),
    'N15 H1-27 a bit that flips anywhere is found: by open where it is in header or end, else by verify and read',
  ],
  [
    'never verifies',
    () => ({ verify: async () => {} }),
    'N15 H1-27 a bit that flips anywhere is found: by open where it is in header or end, else by verify and read',
  ],
  [
    'takes damage for an end',
    (store) => ({
      async *read(id) {
        try {
          yield* store.read(id)
        } catch {
          // As if that were all.
        }
      },
    }),
    'N15 H1-27 a bit that flips anywhere is found: by open where it is in header or end, else by verify and read',
  ],
  [
    'says that it is finished before it is',
    (store) => ({
      async create(header) {
        const sink = await store.create(header)
        const finish = async () => {
          sink.finish().catch(() => {})
          return { header, bytes: 100_000 }
        }
        return replacing(sink, { finish })
      },
    }),
    'N13 D8 H1-24 after a loss of power at any call there is the old or the new, whole; and the new once it was told',
  ],
  [
    'keeps everything',
    () => ({ remove: async () => {} }),
    'remove removes what it names; who reads one reads on, and what is being made goes on',
  ],
  [
    'goes on after close',
    () => ({ close: async () => {} }),
    'after close every call is refused, what was being made is gone, and a reader ends with an error',
  ],
  [
    'begins anew after each cut',
    (store) => ({
      async receive(header, bytes) {
        await (await store.receive(header, bytes)).abort()
        return store.receive(header, bytes)
      },
    }),
    'N4 N5 what was cut off goes on where it was, also in the middle of a chunk',
  ],
]

for (const [what, breaking, name] of snapshotDefects) {
  test(`a store of snapshots that ${what} fails the case about that`, async () => {
    await failing(snapshotStoreConformance({ ...snapshotOptions(breaking), deadlineMs: 2000 }), name)
  })
}

const transportDefects: readonly (readonly [string, (transport: Transport) => Partial<Transport>, string])[] = [
  [
    'sends without flush',
    (transport) => ({
      send(to, session, message) {
        transport.send(to, session, message)
        transport.flush()
      },
    }),
    'what is only queued does not leave before the flush',
  ],
  [
    'sends twice',
    (transport) => ({
      send(to, session, message) {
        transport.send(to, session, message)
        transport.send(to, session, message)
      },
    }),
    'requests and answers arrive in the order in which they were sent',
  ],
  [
    'goes on after close',
    () => ({ close: async () => {} }),
    'after close no handler is called, and every session has gone down before',
  ],
  [
    'sends twice on channels',
    (transport) => ({
      openChannel: async (to, handlers) => {
        const channel = await transport.openChannel?.(to, handlers)
        if (channel === undefined) throw new Error('there are no channels')
        return replacing(channel, {
          send(frame) {
            channel.send(frame)
            channel.send(frame)
          },
        })
      },
    }),
    'a channel carries frames in order, in both directions, and needs no flush',
  ],
  [
    'ends the session with a channel',
    (transport) => ({
      openChannel: async (to, handlers) => {
        const channel = await transport.openChannel?.(to, handlers)
        if (channel === undefined) throw new Error('there are no channels')
        return replacing(channel, { close: () => transport.setPeers([]) })
      },
    }),
    'a channel is no session: none comes up, goes down or is refused with it',
  ],
  ['never rejects', () => ({ reject: () => {} }), 'a rejected link ends, and the peer is told why'],
]

for (const [what, breaking, name] of transportDefects) {
  test(`a transport that ${what} fails the case about that`, async () => {
    await failing(transportConformance({ ...transportOptions(breaking), deadlineMs: 600 }), name)
  })
}

test('what a store or a world cannot do is skipped with its reason, and refuses to run', async () => {
  const store = logStoreConformance({ ...storeOptions(() => ({})), crash: null, failNextWrite: null })
  const storeHooks = ['the store has no hook failNextWrite', 'the store has no hook crash']
  const transport = transportConformance({ ...transportOptions(() => ({})), cut: null, stall: null })
  const transportHooks = [
    ...Array<string>(3).fill('its world has no hook cut'),
    ...['its world has no hook stall', 'its world has no hook cut', 'its world has no hook stall'],
  ]
  for (const [cases, reasons] of [
    [store, [...storeHooks, ...storeHooks]],
    [transport, transportHooks],
  ] as const) {
    const skipped = cases.filter((one) => one.skipped !== null)
    assert.equal(
      skipped.map((one) => one.skipped),
      reasons,
    )
    for (const { name, skipped: reason, run } of skipped) {
      assert.is(String(await run().catch((error: unknown) => error)), `Error: skipped: ${name}: ${reason}`)
    }
  }
})

test('an option out of range is named with its bound', () => {
  const isRefusal =
    (text: string) =>
    (error: unknown): boolean =>
      error instanceof RaftError && error.code === 'ERR_RAFT_OPTIONS' && error.message.includes(text)
  assert.throws(
    () => logStoreConformance({ ...storeOptions(() => ({})), deadlineMs: 0 }),
    isRefusal('option deadlineMs is 0: it must be a whole number in 1 .. 2147483647'),
  )
  assert.throws(
    () => transportConformance({ ...transportOptions(() => ({})), writeQueueBytesMax: 1024 }),
    isRefusal('option writeQueueBytesMax is 1024: it must be a whole number in 8388608 .. 67108864'),
  )
})

/** Runs the one case, which must fail, and not for want of the case. */
async function failing(cases: readonly ConformanceCase[], name: string): Promise<void> {
  const one = cases.find((candidate) => candidate.name === name)
  if (one === undefined) throw new Error(`there is no case "${name}"`)
  const error = await one.run().then(
    () => null,
    (reason: unknown) => reason,
  )
  assert.instance(error, Error, 'the case did not fail')
}

function storeOptions(breaking: Breaking): LogStoreConformanceOptions {
  const factory = memoryStore()
  let dirs = 0
  return {
    create(dir) {
      const store = factory.create(dir)
      return replacing(store, breaking(store))
    },
    makeDir: async () => `memory-${(dirs += 1)}`,
    removeDir: async () => {},
    failNextWrite: (dir) => factory.disk(dir).failTicket(1, 'lost'),
    crash: (dir) => factory.disk(dir).crash(),
  }
}

function snapshotOptions(breaking: (store: SnapshotStore) => Partial<SnapshotStore>): SnapshotStoreConformanceOptions {
  const factory = memorySnapshotStore()
  let dirs = 0
  return {
    create(dir) {
      const store = factory.create(dir)
      return replacing(store, breaking(store))
    },
    makeDir: async () => `memory-${(dirs += 1)}`,
    removeDir: async () => {},
    flipBit: async (dir, id, bit) => factory.disk(dir).flipBit(id, bit),
    failCall: null,
    dieAt: (dir, k) => factory.disk(dir).dieAt(k),
    crash: (dir) => factory.disk(dir).crash(),
    largeBytes: null,
  }
}

function transportOptions(breaking: (transport: Transport) => Partial<Transport>) {
  const writeQueueBytesMax = 8 * 2 ** 20
  return {
    writeQueueBytesMax,
    makeWorld: async () => {
      const clock = new MachineClock()
      const network = new MemoryNetwork({ clock, writeQueueBytesMax })
      const transports: Transport[] = []
      const transport = (id: string): Transport => {
        const right = network.transport(id)
        transports.push(right)
        return replacing(right, breaking(right))
      }
      // What a broken one left open is closed here.
      const close = async (): Promise<void> => {
        for (const right of transports) await right.close()
      }
      return { clock, network, transport, close, bound: () => {}, address: async (_from: string, to: string) => to }
    },
    cut: ({ network }: { network: MemoryNetwork }, from: string, to: string) => network.cut(from, to),
    stall: ({ network }: { network: MemoryNetwork }, from: string, to: string) => network.hold(from, to),
  }
}

/** The thing with some of its methods replaced; the others keep their `this`. */
function replacing<Thing extends object>(thing: Thing, replaced: Partial<Thing>): Thing {
  return new Proxy(thing, {
    get(target, key) {
      if (Object.hasOwn(replaced, key)) return Reflect.get(replaced, key) as unknown
      const value: unknown = Reflect.get(target, key)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
}

test.run()
