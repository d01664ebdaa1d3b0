/**
 * What the compiler says of code that uses the library: which types it infers, with and without defineStateMachine, and
 * what it refuses. The build is the test: a type that is another does not compile, nor does an `@ts-expect-error` over
 * what is no error. Nothing of this opens a server.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { defineStateMachine, msgpackCodec, Raft } from 'balsa-raft'
import { RaftClient } from 'balsa-raft/client'
import type { Session } from 'balsa-raft/client'
import type { ApplyContext, Codec, Entry, RaftEvents, RaftOptions, StateMachine } from 'balsa-raft'

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
type Opened<Open extends () => Promise<unknown>> = Awaited<ReturnType<Open>>

/** Compiles only where both are the same. */
function same<A, B>(is: Same<A, B>): void {
  assert.ok(is)
}

interface Add {
  readonly add: number
}

declare const base: Pick<RaftOptions<unknown, unknown>, 'id' | 'dir' | 'transport'>
const codec = msgpackCodec<Add>()
let total = 0

const test = suite('types')

test('a literal within Raft.open needs no types but that of its query: the codec tells the rest', () => {
  const open = () =>
    Raft.open({
      ...base,
      codec,
      stateMachine: {
        apply: (batch, context) => batch.map(({ command }) => (context.replaying ? 0 : (total += command.add))),
        query: (name: 'total') => `${name} ${total}`,
        validate: ({ add }) => {
          if (add < 0) throw new Error(`${add} is below 0`)
        },
      },
    })
  same<Opened<typeof open>, Raft<Add, number, 'total', string>>(true)
})

test('the order of codec and state machine does not matter, nor whether functions are methods or answer later', () => {
  const open = () =>
    Raft.open({
      ...base,
      stateMachine: {
        async apply(batch) {
          return batch.map(({ command }) => (total += command.add))
        },
        async query(least: number) {
          return total >= least
        },
      },
      codec,
    })
  same<Opened<typeof open>, Raft<Add, number, number, boolean>>(true)
})

test('a query without a parameter is asked by read(), and without a query there is no read', () => {
  const apply: StateMachine<Add, number>['apply'] = (batch) => batch.map(() => 1)
  const asked = () => Raft.open({ ...base, codec, stateMachine: { apply, query: () => total } })
  same<Opened<typeof asked>, Raft<Add, number, void, number>>(true)
  const unasked = () => Raft.open({ ...base, codec, stateMachine: { apply } })
  same<Opened<typeof unasked>, Raft<Add, number>>(true)
})

test('defineStateMachine is told the command by a codec, or by its functions', () => {
  const byCodec = defineStateMachine(codec, {
    apply: (batch) => batch.map(({ command }) => (total += command.add)),
    query: (name: 'total') => `${name} ${total}`,
  })
  same<typeof byCodec, StateMachine<Add, number, 'total', string>>(true)
  const byFunctions = defineStateMachine({
    apply: (batch: readonly Entry<Add>[]) => batch.map(({ command }) => (total += command.add)),
    query: () => total,
  })
  same<typeof byFunctions, StateMachine<Add, number, void, number>>(true)
  const unasked = defineStateMachine(codec, { apply: (batch) => batch.map(({ command }) => command.add > 0) })
  same<typeof unasked, StateMachine<Add, boolean>>(true)
  assert.type(byCodec.apply, 'function')
  assert.type(byFunctions.apply, 'function')

  const opens = [
    () => Raft.open({ ...base, codec, stateMachine: byCodec }),
    () => Raft.open({ ...base, codec, stateMachine: defineStateMachine(codec, { ...byCodec }) }),
  ] as const
  same<Opened<(typeof opens)[0]>, Raft<Add, number, 'total', string>>(true)
  same<Opened<(typeof opens)[1]>, Raft<Add, number, 'total', string>>(true)
})

test('a class says what it implements', () => {
  class Sum implements StateMachine<Add, number, 'total', number> {
    apply(batch: readonly Entry<Add>[], _context: ApplyContext): readonly number[] {
      return batch.map(({ command }) => (total += command.add))
    }
    query(_name: 'total'): number {
      return total
    }
  }
  const open = () => Raft.open({ ...base, codec, stateMachine: new Sum() })
  same<Opened<typeof open>, Raft<Add, number, 'total', number>>(true)
})

test('a codec that is written by hand tells the command as well', () => {
  const open = () =>
    Raft.open({
      ...base,
      codec: { encode: (command: Add) => Uint8Array.of(command.add), decode: ([add = 0]): Add => ({ add }) },
      stateMachine: { apply: (batch) => batch.map(({ command }) => (total += command.add)) },
    })
  same<Opened<typeof open>, Raft<Add, number>>(true)
})

test('calls and events have the types of the machine', () => {
  const use = async (raft: Raft<Add, number, 'total', string>) => {
    same<ReturnType<typeof raft.apply>, Promise<number>>(true)
    same<ReturnType<typeof raft.applyAll>, Promise<readonly number[]>>(true)
    same<ReturnType<typeof raft.read>, Promise<string>>(true)
    raft.on('applied', (event) => same<typeof event, RaftEvents<Add, number>['applied']>(true))
    raft.on('applied', ({ entries, results }) => entries.map(({ command }, n) => command.add + (results[n] ?? 0)))
  }
  assert.type(use, 'function')
})

test('a client is told its types by its codecs, and what no codec tells is unknown', () => {
  const endpoints = ['127.0.0.1:7600']
  const told = () =>
    RaftClient.connect({
      ...{ endpoints, codec, resultCodec: msgpackCodec<number>() },
      ...{ queryCodec: msgpackCodec<'total'>(), answerCodec: msgpackCodec<string>() },
    })
  same<Opened<typeof told>, RaftClient<Add, number, 'total', string>>(true)
  const untold = () => RaftClient.connect({ endpoints, codec })
  same<Opened<typeof untold>, RaftClient<Add>>(true)
  const use = async (client: RaftClient<Add, number, 'total', string>) => {
    same<ReturnType<typeof client.submit>, Promise<number>>(true)
    same<ReturnType<typeof client.query>, Promise<string>>(true)
    same<ReturnType<typeof client.openSession>, Promise<Session<Add, number>>>(true)
    // @ts-expect-error a command of another type
    await client.submit({ add: 'one' })
    // @ts-expect-error another query
    await client.query('sum')
    // @ts-expect-error there is no such way to try again
    await client.submit({ add: 1 }, { retry: 'always' })
  }
  assert.type(use, 'function')
})

test('misuse does not compile', () => {
  const use = async (raft: Raft<Add, number, 'total', string>, unasked: Raft<Add, number>) => {
    // @ts-expect-error a command of another type
    await raft.apply({ add: 'one' })
    // @ts-expect-error one command of a list is of another type
    await raft.applyAll([{ add: 1 }, { subtract: 1 }])
    // @ts-expect-error the result is a number
    const result: string = await raft.apply({ add: 1 })
    // @ts-expect-error another query
    await raft.read('sum')
    // @ts-expect-error the query is missing
    await raft.read()
    // @ts-expect-error a query, and the machine has no query function
    await unasked.read('total')
    // @ts-expect-error nor is one without a parameter
    await unasked.read()
    // @ts-expect-error a misspelt option of a call
    await raft.apply({ add: 1 }, { timeoutMS: 1 })
    // @ts-expect-error an event that there is not
    raft.on('apply', () => {})
    // @ts-expect-error a command has no such field
    raft.on('applied', ({ entries }) => entries.map(({ command }) => command.subtract))
    return result
  }
  assert.type(use, 'function')
})

test('a state machine and a codec that do not fit do not compile', () => {
  const strings: Codec<string> = msgpackCodec()
  const sum = defineStateMachine(codec, { apply: (batch) => batch.map(({ command }) => command.add) })
  const opens = [
    // @ts-expect-error a codec of another type
    () => Raft.open({ ...base, codec: strings, stateMachine: sum }),
    // @ts-expect-error the codec's commands have no such field
    () => Raft.open({ ...base, codec: strings, stateMachine: { apply: (batch) => batch.map((e) => e.command.add) } }),
    // @ts-expect-error apply owes a list
    () => Raft.open({ ...base, codec, stateMachine: { apply: () => 1 } }),
    // @ts-expect-error no apply
    () => Raft.open({ ...base, codec, stateMachine: { query: () => 1 } }),
    // @ts-expect-error a misspelt function
    () => Raft.open({ ...base, codec, stateMachine: { apply: sum.apply, snapshots: () => [] } }),
    // @ts-expect-error a misspelt option
    () => Raft.open({ ...base, codec, stateMachine: sum, electionTimeout: 1000 }),
  ]
  assert.is(opens.length, 6)
  // @ts-expect-error without a codec or a written type a command is unknown
  const untyped = defineStateMachine({ apply: (batch) => batch.map(({ command }) => command.add) })
  assert.type(untyped.apply, 'function')
})

test.run()
