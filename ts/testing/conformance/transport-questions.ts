/** What every transport that can ask must do: the cases of `transportConformance` about `ask`. */

import { deepStrictEqual, match, strictEqual } from 'node:assert'

import { ANSWER_BYTES_MAX, QUESTION_BYTES_MAX } from '../../transport/transport.js'
import type { Transport } from '../../transport/transport.js'
import type { Add, Stage } from './transport-stage.js'

export function addQuestions(add: Add): void {
  add('a question is answered, byte for byte, of every length within the bounds', async (stage) => {
    const a = await stage.site('a')
    const b = await stage.site('b')
    for (const [asked, answered] of [
      [0, 1],
      [1, 0],
      [1024, 4096],
      [QUESTION_BYTES_MAX, ANSWER_BYTES_MAX],
    ] as const) {
      b.onAsked = () => bytesOf(answered)
      const answer = await ask(stage, a.transport, 'a', 'b', bytesOf(asked))
      deepStrictEqual(plain(answer), plain(bytesOf(answered)))
      deepStrictEqual(plain(b.questions.at(-1)), plain(bytesOf(asked)))
    }
  })

  add('whoever is not started may ask, and nobody is admitted or up by it', async (stage) => {
    const b = await stage.site('b')
    b.onAsked = (question) => question
    const transport = stage.transport('a')
    try {
      deepStrictEqual(plain(await ask(stage, transport, 'a', 'b', bytesOf(7))), plain(bytesOf(7)))
      deepStrictEqual([b.calls, b.admitted, b.sessions], [0, [], []])
    } finally {
      await transport.close()
    }
  })

  add('many ask at the same time, and each gets its own answer', async (stage) => {
    const a = await stage.site('a')
    const b = await stage.site('b')
    b.onAsked = (question) => question
    const address = await stage.address('a', 'b')
    const numbers = [...Array(8).keys()]
    const answers = await Promise.all(numbers.map((at) => askAt(stage, a.transport, address, bytesOf(at + 1))))
    deepStrictEqual(
      answers.map(plain),
      numbers.map((at) => plain(bytesOf(at + 1))),
    )
  })

  add('who has no answer says so', async (stage) => {
    const a = await stage.site('a')
    await stage.site('b')
    match(await refused(stage, a.transport, 'a', 'b', bytesOf(1)), /no answer to that question/)
  })

  add('a question that is too long is not asked, and the next one is', async (stage) => {
    const a = await stage.site('a')
    const b = await stage.site('b')
    b.onAsked = (question) => question
    await refused(stage, a.transport, 'a', 'b', bytesOf(QUESTION_BYTES_MAX + 1))
    deepStrictEqual(b.questions, [])
    strictEqual((await ask(stage, a.transport, 'a', 'b', bytesOf(1))).length, 1)
  })

  add('where nobody listens there is an error, and no waiting', async (stage) => {
    const a = await stage.site('a')
    await refused(stage, a.transport, 'a', 'nobody', bytesOf(1))
  })

  add('who closes waits for no answer, and asks no more', async (stage) => {
    const a = await stage.site('a')
    const b = await stage.site('b')
    b.onAsked = (question) => question
    const address = await stage.address('a', 'b')
    const asked = errorOf(askAt(stage, a.transport, address, bytesOf(1)))
    await a.transport.close()
    match(await asked, /closed/)
    match(await errorOf(askAt(stage, a.transport, address, bytesOf(1))), /closed/)
  })
}

async function ask(
  stage: Stage,
  transport: Transport,
  from: string,
  to: string,
  question: Uint8Array,
): Promise<Uint8Array> {
  return askAt(stage, transport, await stage.address(from, to), question)
}

async function askAt(stage: Stage, transport: Transport, address: string, question: Uint8Array): Promise<Uint8Array> {
  if (transport.ask === undefined) throw new Error('the transport has no ask: say questions: false')
  return transport.ask(address, question, stage.clock)
}

const refused = (...asked: Parameters<typeof ask>): Promise<string> => errorOf(ask(...asked))

async function errorOf(asked: Promise<unknown>): Promise<string> {
  const error = await asked.then(
    () => null,
    (reason: unknown) => reason,
  )
  if (!(error instanceof Error)) throw new Error('a question was answered')
  return error.message
}

const bytesOf = (length: number): Uint8Array => Uint8Array.from({ length }, (_, at) => at % 251)

/** Of whatever kind the bytes are. */
const plain = (bytes: Uint8Array | undefined): readonly number[] => [...(bytes ?? [])]
