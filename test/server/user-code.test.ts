/**
 * What users bring is called in one place, and its memory is not ours: codecs, state machines, listeners and loggers
 * that do what they should not, or what only looks wrong, through the public class.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { runInNewContext } from 'node:vm'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { msgpackCodec, Raft, RaftError } from 'balsa-raft'
import type { ApplyContext, Codec, Entry, Logger, RaftOptions, StateMachine } from 'balsa-raft'
import { systemClock } from '#balsa/clock.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import { failure } from '../support/failure.js'
import { until } from '../support/until.js'

type AnyRaft = Raft<unknown, unknown, unknown, unknown>
type AnyMachine = StateMachine<unknown, unknown, unknown, unknown>
type Options = Partial<RaftOptions<unknown, unknown, unknown, unknown>>

interface Context {
  /** What nobody awaited: any of it ends a process. */
  stray: unknown[]
  opened: AnyRaft[]
  note: (error: unknown) => void
}

const test = suite<Context>('code that users bring')

test.before.each((context) => {
  context.stray = []
  context.opened = []
  context.note = (error) => void context.stray.push(error)
  process.on('uncaughtException', context.note)
  process.on('unhandledRejection', context.note)
})
test.after.each(async (context) => {
  await Promise.all(context.opened.map((raft) => raft.close()))
  // What nobody has awaited is reported in a round of the event loop.
  await nextTurn()
  await nextTurn()
  process.off('uncaughtException', context.note)
  process.off('unhandledRejection', context.note)
  assert.equal(context.stray.map(String), [])
})

/** Answers with everything that it was ever given. */
const echo = (): AnyMachine => ({ apply: (batch) => batch.map(({ command }) => command) })

const bytes: Codec<unknown> = { encode: (command) => command as Uint8Array, decode: (command) => command }

class Site {
  readonly network = new MemoryNetwork({ clock: systemClock() })
  readonly storage = memoryStore()
  readonly #context: Context
  readonly #servers: readonly { readonly id: string; readonly address: string }[]

  constructor(context: Context, count = 1) {
    this.#context = context
    this.#servers = Array.from({ length: count }, (_, at) => ({ id: `s${at + 1}`, address: `a${at + 1}` }))
  }

  async open(id: string, options: Options): Promise<AnyRaft> {
    const { address = '' } = this.#servers.find((server) => server.id === id) ?? {}
    const raft: AnyRaft = await Raft.open({
      id,
      dir: `/${id}`,
      bootstrap: this.#servers,
      transport: this.network.transport(address),
      storage: this.storage,
      stateMachine: echo(),
      logger: false,
      codec: msgpackCodec(),
      ...options,
    })
    this.#context.opened.push(raft)
    return raft
  }

  async openAll(optionsOf: (id: string) => Options): Promise<{ leader: AnyRaft; followers: readonly AnyRaft[] }> {
    const all = await Promise.all(this.#servers.map(({ id }) => this.open(id, optionsOf(id))))
    await Promise.all(all.map((raft) => raft.ready()))
    const leader = all.find(({ status }) => status.role === 'leader')
    if (leader === undefined) throw new Error('nobody leads')
    return { leader, followers: all.filter((raft) => raft !== leader) }
  }
}

async function alone(context: Context, options: Options): Promise<AnyRaft> {
  const raft = await new Site(context).open('s1', options)
  await raft.ready()
  return raft
}

function says(error: RaftError, code: string, message: RegExp): void {
  assert.is(error.code, code, error.message)
  assert.match(error.message, message)
}

function is(error: RaftError, code: string, outcome: string): void {
  assert.equal([error.code, error.outcome], [code, outcome], error.message)
}

/** A value as another realm makes it: nothing of it is an instance of ours. */
function foreign(code: string): unknown {
  return runInNewContext(code)
}

// What a codec answers with.

test('an encode that uses its memory again is harmless', async (context) => {
  const memory = new Uint8Array(1)
  const encode = (command: unknown): Uint8Array => memory.fill(Number(command))
  const raft = await alone(context, { codec: { encode, decode: ([first]) => first } })
  assert.equal(await raft.applyAll([1, 2, 3]), [1, 2, 3])
  assert.equal(await Promise.all([4, 5, 6].map((command) => raft.apply(command))), [4, 5, 6])
})

test('memory that is given away after encode is no longer needed', async (context) => {
  const raft = await alone(context, { codec: bytes })
  const command = Uint8Array.of(1, 2, 3)
  const answer = raft.apply(command)
  structuredClone(command.buffer, { transfer: [command.buffer] })
  assert.equal(await answer, Uint8Array.of(1, 2, 3))
})

test('memory that was given away before is refused, and not taken for an empty command', async (context) => {
  const raft = await alone(context, { codec: bytes })
  const command = Uint8Array.of(1, 2, 3)
  structuredClone(command.buffer, { transfer: [command.buffer] })
  says(await failure(raft.apply(command)), 'ERR_RAFT_ENCODE', /the codec's encode answered with .*detached/)
  assert.equal(await raft.apply(new Uint8Array(0)), new Uint8Array(0))
})

test('what encode answers with instead of bytes is refused by its kind', async (context) => {
  const answers: unknown[] = [
    undefined,
    null,
    'text',
    [1, 2],
    new ArrayBuffer(1),
    new Float64Array(1),
    {},
    7n,
    Symbol('x'),
  ]
  const raft = await alone(context, { codec: { ...bytes, encode: (at) => answers[Number(at)] as never } })
  for (const [at, answer] of answers.entries()) {
    const kind = /^\[object (\w+)\]$/.exec(Object.prototype.toString.call(answer))?.[1] ?? ''
    says(
      await failure(raft.apply(at)),
      'ERR_RAFT_ENCODE',
      new RegExp(`the codec's encode answered with .*${kind}`, 'i'),
    )
  }
})

test('an asynchronous encode is refused, and what becomes of its promise is nobody’s business', async (context) => {
  const encode = (() => Promise.reject(new Error('too late'))) as never
  const raft = await alone(context, { codec: { ...bytes, encode } })
  says(await failure(raft.apply(1)), 'ERR_RAFT_ENCODE', /the codec's encode answered with a promise/)
})

test('a throw of encode names the codec, whatever is thrown, and ends that call alone', async (context) => {
  const thrown = [new TypeError('no such field'), 'text', undefined, Symbol('odd'), Object.create(null)]
  const encode = (at: unknown): Uint8Array => {
    throw thrown[Number(at)]
  }
  const raft = await alone(context, { codec: { ...bytes, encode } })
  for (const [at, cause] of thrown.entries()) {
    const error = await failure(raft.apply(at))
    says(error, 'ERR_RAFT_ENCODE', /^the codec's encode threw: /)
    assert.is(error.cause, cause)
  }
  says(await failure(raft.applyAll([0])), 'ERR_RAFT_ENCODE', /TypeError: no such field/)
  assert.is(raft.status.fault, null)
})

test('a list with holes in it is a list of undefined', async (context) => {
  const raft = await alone(context, {})
  // oxlint-disable-next-line no-sparse-arrays
  assert.equal(await raft.applyAll([1, , 3]), [1, undefined, 3])
})

// What a codec and a state machine are given.

/** Spoils whatever it can reach of what it is given. */
function spoil(given: Uint8Array): void {
  given.fill(0xee)
  new Uint8Array(given.buffer).fill(0xee)
}

test('who writes into commands changes nothing that a late follower is sent, nor what is replayed', async (context) => {
  const site = new Site(context, 3)
  const seen = new Map<string, string[]>()
  const machine = (id: string, isRude: boolean): AnyMachine => {
    const commands: string[] = []
    seen.set(id, commands)
    return {
      apply: (batch) =>
        batch.map(({ command }) => {
          commands.push(Buffer.from(command as Uint8Array).toString())
          if (isRude) spoil(command as Uint8Array)
          return null
        }),
    }
  }
  const { leader, followers } = await site.openAll((id) => ({ codec: bytes, stateMachine: machine(id, true) }))
  const [late] = followers
  assert.ok(late)
  const { id } = late.status
  await late.close()
  const commands = Array.from({ length: 20 }, (_, at) => `command ${at}`)
  for (const command of commands) await leader.apply(Buffer.from(command))
  const back = await site.open(id, { codec: bytes, stateMachine: machine(id, false) })
  await until('the late follower has everything', () => back.status.appliedIndex === leader.status.appliedIndex)
  assert.equal(seen.get(id), commands)
  await leader.close()
  const again = await site.open(leader.status.id, { codec: bytes, stateMachine: machine('again', false) })
  await until('the log is replayed', () => again.status.appliedIndex === back.status.appliedIndex)
  assert.equal(seen.get('again'), commands)
})

test('a decode that spoils its bytes does the same on every server, and to nobody else', async (context) => {
  const decoded = new Map<string, unknown[]>()
  const codecOf = (id: string): Codec<unknown> => {
    const texts: unknown[] = []
    decoded.set(id, texts)
    const decode = (given: Uint8Array): unknown => {
      const text = Buffer.from(given).toString()
      given.fill(0)
      texts.push(text)
      return text
    }
    return { encode: (command) => Buffer.from(String(command)), decode }
  }
  const site = new Site(context, 3)
  const { leader, followers } = await site.openAll((id) => ({ codec: codecOf(id) }))
  assert.equal(await leader.applyAll(['a', 'b', 'c']), ['a', 'b', 'c'])
  for (const { status } of followers) {
    await until(`${status.id} has it all`, () => decoded.get(status.id)?.length === 3)
    assert.equal(decoded.get(status.id), ['a', 'b', 'c'])
  }
  const { id } = leader.status
  await leader.close()
  await site.open(id, { codec: codecOf(id) })
  await until('it is replayed', () => decoded.get(id)?.length === 3)
  assert.equal(decoded.get(id), ['a', 'b', 'c'])
})

test('a throw of decode names the codec and the entry, and halts', async (context) => {
  const decode = (): unknown => {
    throw new TypeError('not my format')
  }
  const raft = await alone(context, { codec: { ...bytes, decode } })
  const error = await failure(raft.apply(Uint8Array.of(1)))
  says(error, 'ERR_RAFT_APPLY_FAILED', /the codec's decode threw on entry 3: TypeError: not my format/)
  assert.is(error.outcome, 'applied')
})

test('a decode that answers with a promise is refused', async (context) => {
  const decode = (() => Promise.reject(new Error('too late'))) as never
  const raft = await alone(context, { codec: { ...bytes, decode } })
  says(
    await failure(raft.apply(Uint8Array.of(1))),
    'ERR_RAFT_APPLY_FAILED',
    /the codec's decode answered with a promise/,
  )
})

test('a batch says nothing but how far it goes, and whether it is replayed', async (context) => {
  const contexts: ApplyContext[] = []
  const apply: AnyMachine['apply'] = (batch, given) => {
    contexts.push(given)
    return batch.map(() => null)
  }
  const raft = await alone(context, { stateMachine: { apply } })
  await raft.apply(1)
  assert.equal(
    contexts.map(({ appliedIndex }) => appliedIndex),
    [3],
  )
  assert.equal(Object.keys(contexts[0] ?? {}).toSorted(), ['appliedIndex', 'isAwaited', 'replaying'])
})

test('a machine is told whose answers are awaited: not on followers, nor in a replay, nor after a deadline', async (context) => {
  const awaited = new Map<string, boolean[]>()
  const telling = (name: string): AnyMachine => ({
    apply(batch, { isAwaited }) {
      const told = awaited.get(name) ?? []
      awaited.set(name, told)
      for (const { index } of batch) told.push(isAwaited(index))
      return batch.map(() => null)
    },
  })
  const { leader, followers } = await new Site(context, 3).openAll((id) => ({ stateMachine: telling(id) }))
  const rafts = [leader, ...followers]
  await leader.applyAll(['a', 'b', 'c'])
  await until('all have applied it', () =>
    rafts.every(({ status }) => status.appliedIndex === leader.status.appliedIndex),
  )
  for (const { status } of rafts) assert.equal(awaited.get(status.id), new Array(3).fill(status.role === 'leader'))

  // One that gives up while an entry before its own is being applied.
  const gate = new AbortController()
  const opened: { proceed: () => void } = { proceed: () => {} }
  const seen: boolean[] = []
  const slow: AnyMachine = {
    apply: async (batch, { isAwaited }) => {
      await new Promise<void>((resolve) => (opened.proceed = resolve))
      for (const { index } of batch) seen.push(isAwaited(index))
      return batch.map(() => null)
    },
  }
  const single = new Site(context)
  const raft = await single.open('s1', { stateMachine: slow })
  await raft.ready()
  const waiting = raft.apply('kept')
  const given = failure(raft.apply('given up', { signal: gate.signal }))
  await until('both are committed', () => raft.status.commitIndex === 4)
  gate.abort()
  assert.is((await given).code, 'ERR_RAFT_ABORTED')
  opened.proceed()
  await waiting
  assert.equal(seen, [true, false])
  await raft.close()

  await (await single.open('s1', { stateMachine: telling('again') })).ready()
  assert.equal(awaited.get('again'), [false, false])
})

test('what a machine does to its batch is its own business', async (context) => {
  const apply: AnyMachine['apply'] = (batch) => {
    const answers = batch.map(({ command }) => command)
    const own = batch as Entry<unknown>[]
    for (const entry of own) Object.assign(entry, { index: 0, command: null })
    own.length = 0
    return answers
  }
  const raft = await alone(context, { stateMachine: { apply } })
  assert.equal(await raft.applyAll([1, 2, 3]), [1, 2, 3])
})

// What a state machine answers with.

/** A promise of some other library and realm: it has a `then`, and that is all. */
function thenable(value: unknown, error?: unknown): PromiseLike<never> {
  const then = (resolve: (value: unknown) => void, reject: (error: unknown) => void): void => {
    setImmediate(() => (error === undefined ? resolve(value) : reject(error)))
    // A bad one settles more than once.
    setImmediate(() => resolve([]))
  }
  return (foreign('(then) => ({ then })') as (then: unknown) => PromiseLike<never>)(then)
}

test('an apply that answers with the promise of another library or realm is awaited', async (context) => {
  for (const promised of [thenable, (value: unknown) => foreign(`Promise.resolve(${JSON.stringify(value)})`)]) {
    let under = 0
    const apply = (batch: readonly Entry<unknown>[]): never => {
      under += 1
      assert.is(under, 1, 'called again before the last answer was there')
      const answer = promised(batch.map(({ command }) => command))
      void Promise.resolve(answer).then(() => (under -= 1))
      return answer as never
    }
    const raft = await alone(context, { stateMachine: { apply } })
    assert.equal(await raft.applyAll([1, 2]), [1, 2])
    assert.is(await raft.apply(3), 3)
  }
})

test('a rejection of such a promise halts, with its reason', async (context) => {
  const cause = foreign('new RangeError("elsewhere")')
  const apply = (() => thenable(null, cause)) as never
  const raft = await alone(context, { stateMachine: { apply } })
  const error = await failure(raft.apply(1))
  says(
    error,
    'ERR_RAFT_APPLY_FAILED',
    /the state machine's apply rejected on the entries 3 \.\. 3: RangeError: elsewhere/,
  )
  assert.is((await raft.closed)?.cause, cause)
})

test('an apply that promises each answer is awaited for all of them', async (context) => {
  const order: string[] = []
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => {
    open = resolve
  })
  const apply = (batch: readonly Entry<unknown>[]): unknown[] =>
    batch.map(async ({ command }) => {
      order.push(`begun ${String(command)}`)
      await gate
      order.push(`done ${String(command)}`)
      return command
    })
  const raft = await alone(context, { stateMachine: { apply } })
  const first = raft.applyAll([1, 2])
  await until('the first batch is under way', () => order.length === 2)
  const next = raft.apply(3)
  await until('the next one is committed', () => raft.status.commitIndex === 5)
  for (let turn = 0; turn < 5; turn += 1) await nextTurn()
  open()
  assert.equal([await next, await first], [3, [1, 2]])
  assert.equal(order, ['begun 1', 'begun 2', 'done 1', 'done 2', 'begun 3', 'done 3'])
})

test('a follower whose apply promises answers that are rejected halts, and the process goes on', async (context) => {
  const site = new Site(context, 3)
  const { leader, followers } = await site.openAll(() => ({
    stateMachine: { apply: (batch) => batch.map(async () => Promise.reject(new Error('each by itself'))) },
  }))
  says(
    await failure(leader.apply(1)),
    'ERR_RAFT_APPLY_FAILED',
    /the state machine's apply rejected .*: Error: each by itself/,
  )
  for (const follower of followers) {
    await until(
      'it hears of the commit, or cannot',
      () => follower.status.fault !== null || leader.status.fault !== null,
    )
  }
})

test('answers of another realm are answers', async (context) => {
  const apply = (batch: readonly Entry<unknown>[]): never => foreign(`[${batch.map(() => '7').join()}]`) as never
  const encode = (): never => foreign('new Uint8Array([192])') as never
  const raft = await alone(context, { stateMachine: { apply }, codec: { encode, decode: () => 1 } })
  assert.equal(await raft.applyAll([1, 2]), [7, 7])
})

test('what apply answers with instead of results is refused by its kind and number', async (context) => {
  const table: readonly (readonly [unknown, RegExp])[] = [
    [undefined, /the state machine's apply answered with undefined for 1 command/],
    [{ length: 1 }, /answered with an Object for 1 command/],
    [new Map(), /answered with a Map for 1 command/],
    [[1, 2], /answered with 2 results for 1 command/],
    [Promise.resolve('text'), /answered with a string for 1 command/],
  ]
  for (const [answer, message] of table) {
    const raft = await alone(context, { stateMachine: { apply: () => answer as never } })
    says(await failure(raft.apply(1)), 'ERR_RAFT_APPLY_FAILED', message)
  }
})

test('a throw of apply names the state machine, whatever is thrown', async (context) => {
  const own = new RaftError('ERR_RAFT_NOT_LEADER', 'of another cluster')
  for (const cause of [new TypeError('no account'), own, undefined, null, Symbol('odd'), Object.create(null)]) {
    const apply = (): never => {
      throw cause
    }
    const raft = await alone(context, { stateMachine: { apply } })
    const error = await failure(raft.apply(1))
    says(error, 'ERR_RAFT_APPLY_FAILED', /^the state machine's apply threw on the entries 3 \.\. 3: /)
    assert.is(error.outcome, 'applied')
    assert.is((await raft.closed)?.cause, cause)
  }
})

test('answers that are changed later are what they were', async (context) => {
  const answers: number[] = []
  const apply = async (batch: readonly Entry<unknown>[]): Promise<readonly unknown[]> => {
    answers.length = 0
    for (const { index } of batch) answers.push(index)
    queueMicrotask(() => queueMicrotask(() => queueMicrotask(() => answers.fill(0))))
    return answers
  }
  const raft = await alone(context, { stateMachine: { apply } })
  assert.equal(await raft.applyAll([1, 2]), [3, 4])
})

test('what query throws is what read rejects with, and the server goes on', async (context) => {
  const cause = new RangeError('no such key')
  const answers: readonly (() => unknown)[] = [
    () => {
      throw cause
    },
    () => Promise.reject(cause),
    () => thenable(null, cause),
  ]
  const raft = await alone(context, { stateMachine: { ...echo(), query: (at) => answers[Number(at)]?.() } })
  for (const at of answers.keys()) {
    assert.is(await raft.read(at).catch((error: unknown) => error), cause)
    assert.is(await raft.read(at, { consistency: 'stale' }).catch((error: unknown) => error), cause)
  }
  assert.is(await raft.apply(1), 1)
})

test('an answer that query promised and never gives is waited for no longer than the caller, or the server', async (context) => {
  const never = { ...echo(), query: () => new Promise(() => {}) }
  const raft = await alone(context, { stateMachine: never })
  const controller = new AbortController()
  for (const consistency of ['linearizable', 'stale'] as const) {
    is(await failure(raft.read(1, { consistency, timeoutMs: 20 })), 'ERR_RAFT_TIMEOUT', 'not-applied')
    const aborted = raft.read(1, { consistency, signal: controller.signal })
    setImmediate(() => controller.abort(new Error('enough')))
    is(await failure(aborted), 'ERR_RAFT_ABORTED', 'not-applied')
  }
  const left = raft.read(1, { consistency: 'stale' })
  await nextTurn()
  await raft.close()
  is(await failure(left), 'ERR_RAFT_CLOSED', 'not-applied')
})

test('an answer that query promised and that comes too late, or as a rejection, is nobody’s business', async (context) => {
  let tooLate: (cause: Error) => void = () => {}
  const late = new Promise((_, reject) => (tooLate = reject))
  const raft = await alone(context, { stateMachine: { ...echo(), query: () => late } })
  is(await failure(raft.read(1, { timeoutMs: 20 })), 'ERR_RAFT_TIMEOUT', 'not-applied')
  tooLate(new Error('too late'))
  await nextTurn()
  assert.is(await raft.apply(1), 1)
})

test('a stale read is not answered by a server that has ended, nor to who has given up', async (context) => {
  const stale = { consistency: 'stale' } as const
  const raft = await alone(context, { stateMachine: { ...echo(), query: () => 'an answer' } })
  const given = raft.read(1, { ...stale, signal: AbortSignal.abort('enough') })
  is(await failure(given), 'ERR_RAFT_ABORTED', 'not-applied')
  assert.is(await raft.read(1, stale), 'an answer')
  await raft.close()
  is(await failure(raft.read(1, stale)), 'ERR_RAFT_CLOSED', 'not-applied')
  const apply = (): never => {
    throw new Error('half of the batch')
  }
  const halted = await alone(context, { stateMachine: { apply, query: () => 'half of it' } })
  await failure(halted.apply(1))
  is(await failure(halted.read(1, stale)), 'ERR_RAFT_APPLY_FAILED', 'not-applied')
})

// Listeners and loggers.

interface Line {
  readonly level: string
  readonly event: string
  readonly fields: Readonly<Record<string, unknown>>
}

function keeping(lines: Line[]): Logger {
  const at =
    (level: string) =>
    (event: string, fields: Readonly<Record<string, unknown>> = {}): void =>
      void lines.push({ level, event, fields })
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

test('a listener that throws or rejects is told in the log with its event, and disturbs nobody', async (context) => {
  const lines: Line[] = []
  const raft = await new Site(context).open('s1', { logger: keeping(lines) })
  const heard: string[] = []
  raft.on('role', () => Promise.reject(new Error('later')) as never)
  raft.on('role', () => thenable(null, new Error('elsewhere')) as never)
  raft.on('role', () => {
    throw Object.create(null)
  })
  raft.on('role', (event) => (event as unknown as () => void)())
  raft.on('role', ({ role }) => heard.push(role))
  await raft.ready()
  const told = (): readonly Line[] => lines.filter(({ event }) => event.startsWith('listener.'))
  await until('all of it is told', () => told().length >= 12)
  const reasons = [
    /rejected role.*later/,
    /rejected role.*elsewhere/,
    /threw role an object/,
    /threw role.*not a function/,
  ]
  for (const reason of reasons) {
    const isIt = ({ event, fields }: Line): boolean =>
      reason.test(`${event} ${String(fields['event'])} ${String(fields['error'])}`)
    assert.ok(told().some(isIt), String(reason))
  }
  assert.equal(heard, ['preCandidate', 'candidate', 'leader'])
})

test('a listener that subscribes itself again is called once for each event', async (context) => {
  const raft = await alone(context, { stateMachine: { apply: () => [] } })
  let heard = 0
  const again = (): void => {
    off()
    heard += 1
    if (heard < 100) off = raft.on('role', again)
  }
  let off = raft.on('role', again)
  // A server that halts is a follower.
  await failure(raft.apply(1))
  await raft.closed
  assert.is(heard, 1)
})

test('two subscriptions of one function are two, and one that is ended hears of nothing more', async (context) => {
  const raft = await alone(context, { stateMachine: { apply: () => [] } })
  const heard: string[] = []
  const both = (): void => void heard.push('both')
  const first = raft.on('fault', both)
  raft.on('fault', both)
  raft.on('fault', () => {
    last()
  })
  const last = raft.on('fault', () => void heard.push('ended'))
  first()
  await failure(raft.apply(1))
  await raft.closed
  assert.equal(heard, ['both'])
})

test('what a listener does to its event no other one sees, nor the server', async (context) => {
  const raft = await new Site(context).open('s1', {})
  const leaders: unknown[] = []
  raft.on('leader', (event) => {
    Object.assign(event.leader ?? {}, { id: 'nobody', address: 'nowhere' })
  })
  raft.on('leader', (event) => {
    Object.assign(event, { leader: null, term: -1 })
  })
  raft.on('leader', ({ leader }) => leaders.push(leader))
  await raft.ready()
  assert.equal(leaders, [{ id: 's1', address: 'a1' }])
  assert.equal(raft.status.leader, { id: 's1', address: 'a1' })
})

test('what is done to a status changes nothing but that', async (context) => {
  const raft = await alone(context, {})
  const { configuration } = raft.status
  Object.assign(configuration.voters[0] ?? {}, { id: 'nobody' })
  ;(configuration.voters as unknown[]).push({ id: 's2', address: 'a2' })
  assert.equal(raft.status.configuration.voters, [{ id: 's1', address: 'a1' }])
  assert.is(await raft.apply(1), 1)
})

test('a logger that throws, rejects or lacks a level is swallowed, and noted once', async (context) => {
  const warnings: Error[] = []
  const note = (warning: Error): void => void (warning.message.includes('logger') && warnings.push(warning))
  process.on('warning', note)
  const rude = (): never => {
    throw new Error('the disk of the log is full')
  }
  const loggers = [
    { debug: rude, info: rude, warn: rude, error: rude },
    { debug: rude, info: () => Promise.reject(new Error('a log far away')), warn: rude, error: rude },
    { debug: rude, info: () => thenable(null, new Error('a log elsewhere')), warn: rude, error: rude },
  ]
  for (const logger of loggers) {
    const raft = await alone(context, { logger: logger })
    assert.is(await raft.apply(1), 1)
    await raft.close()
  }
  await nextTurn()
  process.off('warning', note)
  assert.is(warnings.length, loggers.length, warnings.map(String).join('\n'))
  assert.match(String(warnings[0]), /the logger's info threw: Error: the disk of the log is full/)
  assert.match(String(warnings[1]), /the logger's info rejected: Error: a log far away/)
})

test('a logger is called as a method of itself', async (context) => {
  class Own {
    readonly lines: string[] = []
    debug(event: string): void {
      this.lines.push(event)
    }
    info(event: string): void {
      this.lines.push(event)
    }
    warn(event: string): void {
      this.lines.push(event)
    }
    error(event: string): void {
      this.lines.push(event)
    }
  }
  const logger = new Own()
  await alone(context, { logger })
  assert.ok(logger.lines.includes('raft.leader'))
})

test('a clock that goes back, or once tells no number, stops nothing: time goes on from where it was', async (context) => {
  const clock = systemClock()
  let backMs = 0
  let lost = 0
  const wrong = { ...clock, now: () => (lost-- > 0 ? Number.NaN : clock.now() - backMs) }
  const machine = { ...echo(), query: () => new Promise(() => {}) }
  const site = new Site(context, 3)
  const { leader } = await site.openAll(() => ({ clock: wrong, stateMachine: machine }))
  const { term } = leader.status
  for (const back of [60_000, 120_000]) {
    backMs = back
    lost = 10
    assert.is(await leader.apply(String(back), { timeoutMs: 10_000 }), String(back))
    // Deadlines and heartbeats come.
    is(await failure(leader.read(1, { timeoutMs: 50 })), 'ERR_RAFT_TIMEOUT', 'not-applied')
    await leader.readIndex({ timeoutMs: 10_000 })
  }
  assert.equal([leader.status.role, leader.status.term], ['leader', term])
})

test('what is brought in another form than asked for is refused at open, by name', async (context) => {
  const rude = (): never => {
    throw new RangeError('no date')
  }
  const half = { now: () => 0, wallNow: () => 0, defer: () => {} }
  const table: readonly (readonly [object, RegExp])[] = [
    [{ logger: { info: () => {} } }, /^option logger must have the functions debug, info, warn and error/],
    [{ clock: half }, /^option clock must have the functions now, wallNow, setTimer and defer/],
    [{ random: 0.5 }, /^option random must be a function/],
    [{ clock: { ...systemClock(), now: () => Number.NaN } }, /^option clock has a function now that answers NaN/],
    [{ clock: { ...systemClock(), now: () => 1n } }, /^option clock has a function now that answers 1; /],
    [{ clock: { ...systemClock(), wallNow: () => new Date() } }, /^option clock .* wallNow that answers an object/],
    [
      { clock: { ...systemClock(), wallNow: (): never => rude() } },
      /^option clock .* wallNow that threw: RangeError: no date/,
    ],
    [{ storage: {} }, /^option storage must be a store/],
    [{ stateMachine: { apply: () => [], query: 'total' } }, /^option stateMachine .*query/],
    [{ stateMachine: { apply: () => [], configured: {} } }, /^option stateMachine has a configured that is not a func/],
    [{ stateMachine: { apply: () => [], snapshot: () => [] } }, /^option stateMachine has one of snapshot and restore/],
  ]
  for (const [wrong, message] of table) {
    says(await failure(new Site(context).open('s1', wrong)), 'ERR_RAFT_OPTIONS', message)
  }
})

test('user code may call the server back, and close it, from wherever it is called', async (context) => {
  const site = new Site(context)
  const calls: Promise<unknown>[] = []
  let raft: AnyRaft | null = null
  const apply = (batch: readonly Entry<unknown>[]): readonly unknown[] => {
    for (const { command } of batch) {
      if (command === 'again' && raft !== null) calls.push(raft.apply('once'))
      if (command === 'close' && raft !== null) calls.push(raft.close())
    }
    return batch.map(({ command }) => command)
  }
  raft = await site.open('s1', { stateMachine: { apply } })
  await raft.ready()
  assert.is(await raft.apply('again'), 'again')
  assert.equal(await Promise.all(calls), ['once'])
  const last = raft.apply('close')
  const outcome = await last.catch((error: RaftError) => `${error.code} ${error.outcome}`)
  assert.ok(outcome === 'close' || outcome === 'ERR_RAFT_CLOSED applied', String(outcome))
  assert.is(await raft.closed, null)
  const other = await site.open('s1', {})
  other.on('role', () => void other.close())
  assert.is(await other.closed, null)
})

/** Keeps what it hears, in order. */
function listening(configured?: AnyMachine['configured']): { readonly heard: string[]; readonly machine: AnyMachine } {
  const heard: string[] = []
  const machine: AnyMachine = {
    apply: (batch) => batch.map(({ command }) => heard.push(String(command))),
    configured:
      configured ??
      (async ({ voters, nonvoters }) => {
        await nextTurn()
        heard.push([...voters, ...nonvoters].map(({ id, meta }) => id + (meta === undefined ? '' : '!')).join(' '))
      }),
  }
  return { heard, machine }
}

test('a state machine hears of each configuration in its place among the commands, also in a replay', async (context) => {
  const site = new Site(context)
  const { heard, machine } = listening()
  const raft = await site.open('s1', { stateMachine: machine })
  await raft.ready()
  const calls = [
    raft.apply('a'),
    raft.addNonvoter({ id: 'n', address: 'n:1', meta: { redis: 'n:2' } }),
    raft.apply('b'),
    raft.removeServer('n'),
  ]
  const answers = await Promise.all(calls)
  assert.equal([answers[0], typeof answers[2]], [2, 'number'])
  assert.is(await raft.apply('c'), 6)
  assert.equal(
    heard.filter((word) => word.startsWith('s1')),
    ['s1', 's1 n!', 's1'],
  )
  assert.is(heard[0], 's1')
  assert.equal([...heard].sort(), ['a', 'b', 'c', 's1', 's1', 's1 n!'])
  await raft.close()
  const again = listening()
  const restarted = await site.open('s1', { stateMachine: again.machine })
  await restarted.ready()
  assert.equal(again.heard, heard)
})

test('a state machine that fails on a configuration halts its server, which is told as a failed apply', async (context) => {
  const { machine } = listening(({ nonvoters }) => {
    if (nonvoters.length > 0) throw new Error('too many')
  })
  const raft = await alone(context, { stateMachine: machine })
  // Its entry is committed; whether the call hears of that before the end is open.
  raft.addNonvoter({ id: 'n', address: 'n:1' }).catch(() => {})
  const error = await raft.closed
  assert.is(error?.code, 'ERR_RAFT_APPLY_FAILED')
  assert.match(error?.message ?? '', /configured failed on the configuration at 3: Error: too many/)
})

test.run()
