/** What a state machine refuses before it is appended: the caller is told, and nothing has happened. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { msgpackCodec } from 'balsa-raft'
import { failure } from '../support/failure.js'
import { LoneServer } from '../support/lone-server.js'
import { openSingle } from '../support/single-raft.js'
import type { AnyMachine, AnyRaft } from '../support/single-raft.js'

interface Context {
  opened: AnyRaft[]
}

const test = suite<Context>('validate')

test.before.each((context) => {
  context.opened = []
})
test.after.each(async ({ opened }) => {
  await Promise.all(opened.map((raft) => raft.close()))
})

const echo: AnyMachine = { apply: (batch) => batch.map(({ command }) => command) }

/** `validate` may answer with what no type lets it. */
async function open({ opened }: Context, validate: (command: unknown) => unknown): Promise<AnyRaft> {
  const raft = await openSingle({ ...echo, validate })
  opened.push(raft)
  await raft.ready()
  return raft
}

test('a command that validate refuses is not appended: the caller is told why, and the server goes on', async (context) => {
  const reason = new TypeError('b is no a')
  const raft = await open(context, (command) => {
    if (command !== 'a') throw reason
  })
  const { lastIndex } = raft.status
  const error = await failure(raft.apply('b'))
  assert.equal([error.code, error.outcome, error.retryable], ['ERR_RAFT_INVALID', 'not-applied', false])
  assert.match(error.message, /validate refused the command: b is no a; nothing was appended/)
  assert.is(error.cause, reason)
  assert.is(raft.status.lastIndex, lastIndex)
  assert.is(await raft.apply('a'), 'a')
})

test('of what is submitted, too', async (context) => {
  const raft = await open(context, (command) => {
    if (command === 'b') throw new Error('no b')
  })
  const { lastIndex } = raft.status
  assert.is((await failure(raft.submit('b'))).code, 'ERR_RAFT_INVALID')
  assert.is(raft.status.lastIndex, lastIndex)
  assert.is(await raft.submit('a'), 'a')
})

test('in a session, too: what is refused takes no place in it', async (context) => {
  const raft = await open(context, (command) => {
    if (command === 'b') throw new Error('no b')
  })
  const session = await raft.openSession()
  const { lastIndex } = raft.status
  const before = session.token
  assert.is((await failure(session.apply('b'))).code, 'ERR_RAFT_INVALID')
  assert.is(raft.status.lastIndex, lastIndex)
  assert.equal(session.token, before)
  assert.is(await session.apply('a'), 'a')
})

test('of a list of which one command is refused, none is appended', async (context) => {
  const raft = await open(context, (command) => {
    if (command === 'b') throw new Error('no b')
  })
  const { lastIndex } = raft.status
  const error = await failure(raft.applyAll(['a', 'b', 'a']))
  assert.equal([error.code, error.outcome], ['ERR_RAFT_INVALID', 'not-applied'])
  assert.is(raft.status.lastIndex, lastIndex)
  assert.equal(await raft.applyAll(['a', 'a']), ['a', 'a'])
})

test('a validate that cannot refuse is refused: a promise says that it must be synchronous, false that it must throw', async (context) => {
  const raft = await open(context, (command) => {
    if (command === 'promise') return Promise.reject(new Error('nobody awaits this'))
    return command === 'false' ? false : { success: true }
  })
  const promised = await failure(raft.apply('promise'))
  assert.is(promised.code, 'ERR_RAFT_INVALID')
  assert.match(promised.message, /answered with a promise; it must be synchronous; nothing was appended/)
  assert.match((await failure(raft.apply('false'))).message, /answered with false; a command is refused by a throw/)
  assert.is(await raft.apply('parsed'), 'parsed')
})

test('it is asked before encode, once for each command, and never of what is in the log', async (context) => {
  const calls: string[] = []
  const codec = msgpackCodec()
  const raft = await openSingle(
    { ...echo, validate: (command) => void calls.push(`validate ${String(command)}`) },
    undefined,
    {
      codec: {
        encode: (command) => {
          calls.push(`encode ${String(command)}`)
          return codec.encode(command)
        },
        decode: codec.decode,
      },
    },
  )
  context.opened.push(raft)
  await raft.ready()
  await raft.applyAll(['a', 'b'])
  assert.equal(calls, ['validate a', 'encode a', 'validate b', 'encode b'])
})

test('who does not lead asks nobody', async () => {
  let asked = 0
  const validate = (): void => void (asked += 1)
  const lone = await LoneServer.open(undefined, { stateMachine: { apply: () => [], validate } })
  try {
    const error = await failure(lone.raft.apply({ add: 1 }))
    assert.equal([error.code, asked], ['ERR_RAFT_NO_LEADER', 0])
  } finally {
    await lone.close()
  }
})

test('a validate that is no function is refused at the start', async () => {
  const machine = { ...echo, validate: 'yes' } as unknown as AnyMachine
  const error = await failure(openSingle(machine))
  assert.is(error.code, 'ERR_RAFT_OPTIONS')
  assert.match(error.message, /stateMachine has a validate that is not a function/)
})

test.run()
