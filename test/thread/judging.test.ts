/** Commands that a codec of another thread looks at: in their order, and no more of them at a time than are bounded. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { RaftError } from 'balsa-raft'
import { GuardedCodec } from '#balsa/machine/user-code.js'
import { Judging, JUDGED_BYTES_MAX } from '#balsa/server/forward/judging.js'
import type { Judged } from '#balsa/server/forward/judging.js'
import { Mailbox } from '#balsa/server/turn/mailbox.js'
import { ManualClock } from '../transport/manual-clock.js'

const test = suite('judging')

class FarCodec extends GuardedCodec<unknown> {
  override get isElsewhere(): boolean {
    return true
  }
}

const BYTES = { encode: (): Uint8Array => new Uint8Array(0), decode: (bytes: Uint8Array): unknown => bytes }

function judging(): Judging {
  return new Judging(new FarCodec(BYTES), new Mailbox(new ManualClock()))
}

/** Its judge answers when it is told to, or at once. */
function customerOf(answers: (Promise<null> | null)[]): Judged & { readonly refused: RaftError[] } {
  const refused: RaftError[] = []
  return {
    judge: () => answers.shift() ?? null,
    commandsDue: 0,
    judging: null,
    failed: (_: number, error: RaftError) => refused.push(error),
    refused,
  }
}

const message = (firstId: number, ...commands: readonly Uint8Array[]) =>
  ({ type: 'commands', kind: 'command', firstId, commands }) as const

test('what needs no judge does not overtake what waits for one', async () => {
  let answer = (): void => {}
  const customer = customerOf([new Promise((resolve) => (answer = () => resolve(null))), null])
  const [taken, judge] = [[] as number[], judging()]
  const take = ({ firstId }: { readonly firstId: number }): void => void taken.push(firstId)
  judge.judge(customer, message(1, Uint8Array.of(1)), take)
  judge.judge(customer, message(2, Uint8Array.of(2)), take)
  assert.equal([taken.length, customer.commandsDue], [0, 2])
  answer()
  await new Promise(setImmediate)
  assert.equal(taken, [1, 2])
  assert.equal([customer.commandsDue, customer.judging], [0, null])
})

test('the bytes are copies: what they were read from is used again', async () => {
  const customer = customerOf([Promise.resolve(null)])
  const frame = Uint8Array.of(7)
  const judge = judging()
  const taken = new Promise<Uint8Array | undefined>((resolve) =>
    judge.judge(customer, message(1, frame), ({ commands }) => resolve(commands[0])),
  )
  frame[0] = 8
  assert.equal([...((await taken) ?? [])], [7])
})

test('more bytes than may wait are refused, each command by itself, until others have been judged', async () => {
  let answer = (): void => {}
  const customer = customerOf([new Promise((resolve) => (answer = () => resolve(null)))])
  const [taken, judge] = [[] as number[], judging()]
  const take = ({ firstId }: { readonly firstId: number }): void => void taken.push(firstId)
  judge.judge(customer, message(1, new Uint8Array(JUDGED_BYTES_MAX)), take)
  judge.judge(customer, message(2, new Uint8Array(1), new Uint8Array(1)), take)
  assert.equal(
    customer.refused.map(({ code, outcome }) => [code, outcome]),
    [1, 2].map(() => ['ERR_RAFT_OVERLOADED', 'not-applied']),
  )
  answer()
  await new Promise(setImmediate)
  judge.judge(customer, message(4, new Uint8Array(1)), take)
  assert.equal(taken, [1, 4])
})

test.run()
