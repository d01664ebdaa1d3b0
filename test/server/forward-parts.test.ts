/** The messages of forwarding, and a leader that serves a peer which does what it should not. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { RaftError } from 'balsa-raft'
import type { Clock } from 'balsa-raft'
import type { RaftCore } from '#balsa/core/raft-core.js'
import { BlockWriter, RecordCursor, sealBlock } from '#balsa/format/block.js'
import { newFrame, sealFrame } from '#balsa/format/channel-frame.js'
import { viewOf } from '#balsa/format/little-endian.js'
import { SESSION_HEADER_BYTES, writeSessionHeader } from '#balsa/format/session.js'
import { NoAnswer } from '#balsa/machine/session-batch.js'
import { GuardedCodec, GuardedMachine, GuardedResultCodec } from '#balsa/machine/user-code.js'
import { ApplyQueue } from '#balsa/server/calls/apply-queue.js'
import { ReadQueue } from '#balsa/server/calls/read-queue.js'
import { BATCH_COUNT_MAX, encodeForward, ForwardReader, isForward } from '#balsa/server/forward/messages.js'
import type { ForwardMessage } from '#balsa/server/forward/messages.js'
import { ANSWERS_QUEUED_BYTES_MAX, READS_SERVED_MAX, SERVED_COUNT_MAX, Serving } from '#balsa/server/forward/serving.js'
import { Life } from '#balsa/server/life.js'
import { leadershipLost, notLeader } from '#balsa/server/refusals.js'
import { Mailbox } from '#balsa/server/turn/mailbox.js'
import type { ChannelHandlers } from '#balsa/transport/channel.js'
import { CHANNEL_FRAME_BYTES_MAX } from '#balsa/transport/channel.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { LogIndex } from '#balsa/types.js'

const ERROR = new RaftError('ERR_RAFT_OVERLOADED', 'slow down', {
  retryable: true,
  leader: { id: 's1', address: 's1:1', meta: { http: 'x' } },
})

function read(frames: readonly Uint8Array[]): ForwardMessage | 'more' | null {
  const reader = new ForwardReader()
  let message: ForwardMessage | 'more' | null = null
  for (const frame of frames) message = reader.read(frame)
  return message
}

/** Commands are bytes; what begins with 9 makes no sense to it. */
class Plain {
  readonly #decoded: Uint8Array[]

  constructor(decoded: Uint8Array[]) {
    this.#decoded = decoded
  }

  encode(command: Uint8Array): Uint8Array {
    return command
  }

  decode(bytes: Uint8Array): Uint8Array {
    this.#decoded.push(Uint8Array.from(bytes))
    if (bytes[0] === 9) throw new Error('no such command')
    return bytes.fill(0)
  }
}

/** A leader, or another server, whose log is nobody's business here, and one channel of a peer to it. */
class Stage {
  readonly said: ForwardMessage[] = []
  /** What was given to the codec. */
  readonly decoded: Uint8Array[] = []
  readonly closed: string[] = []
  readonly proposals = new ApplyQueue()
  readonly serving: Serving
  readonly handlers: ChannelHandlers
  queuedBytes = 0
  hasLease = false

  constructor(role: 'leader' | 'follower' = 'leader', validate?: (command: Uint8Array) => void) {
    const machine = new GuardedMachine({ apply: () => [], ...(validate === undefined ? {} : { validate }) })
    const clock: Clock = { now: () => 0, wallNow: () => 0, setTimer: () => () => {}, defer: () => {} }
    this.serving = new Serving({
      core: { role, leader: { id: 's2', address: 's2:1' }, log: { commitIndex: 1 } } as unknown as RaftCore,
      life: new Life(),
      proposals: this.proposals,
      reads: new ReadQueue(),
      codec: new GuardedCodec(new Plain(this.decoded), machine),
      resultCodec: new GuardedResultCodec({ encode: (result) => result as Uint8Array, decode: (result) => result }),
      mailbox: new Mailbox(clock),
      local: () => ({ holdsLease: () => this.hasLease }),
    })
    const reader = new ForwardReader()
    const queuedBytes = (): number => this.queuedBytes
    this.handlers = this.serving.onChannel({
      send: (frame) => {
        const message = reader.read(frame)
        if (message !== null && message !== 'more') this.said.push(message)
      },
      get queuedBytes() {
        return queuedBytes()
      },
      close: (reason) => void this.closed.push(reason),
    })
  }

  ask(message: ForwardMessage): void {
    for (const frame of encodeForward(message)) this.handlers.onFrame(frame)
  }

  /** The payloads of what waits, which enters the log at 7. */
  appended(isOfSession = false): readonly (readonly number[])[] {
    const place = { first: logIndex(7), term: termOf(2), bytesMax: 1000, time: 1 }
    const payloads: (readonly number[])[] = []
    const cursor = new RecordCursor()
    for (const block of this.proposals.seal(place, new BlockWriter(), sealBlock)) {
      cursor.reset(block)
      while (cursor.next()) {
        if (isOfSession) assert.ok(cursor.hasSession)
        payloads.push([...cursor.payload])
      }
    }
    return payloads
  }

  /** What became of commands that were answered since the last time: code and outcome. */
  failures(): readonly (readonly [number, string, string])[] {
    this.serving.flush()
    const answers = this.said.splice(0).flatMap((message) => (message.type === 'answers' ? message.answers : []))
    return answers.flatMap((answer) =>
      'error' in answer ? [[answer.id, answer.error.code, answer.error.outcome]] : [],
    )
  }
}

const commands = (firstId: number, count: number): ForwardMessage => {
  return { type: 'commands', kind: 'command', firstId, commands: Array.from({ length: count }, () => Uint8Array.of(1)) }
}

const sessionCommand = (): Uint8Array => new Uint8Array(SESSION_HEADER_BYTES + 1)

const test = suite('messages of forwarding')

test('each message comes back as it was', () => {
  const messages: readonly ForwardMessage[] = [
    {
      type: 'commands',
      kind: 'command',
      firstId: 7,
      commands: [Uint8Array.of(1, 2), new Uint8Array(0), Uint8Array.of(3)],
    },
    {
      type: 'answers',
      answers: [
        { id: 8, index: logIndex(21), term: termOf(3), result: Uint8Array.of(9) },
        { id: 7, error: ERROR },
        { id: 9, index: logIndex(22), term: termOf(3), result: new Uint8Array(0) },
        { id: 10, index: logIndex(23), term: termOf(3), result: null },
      ],
    },
    { type: 'commands', kind: 'session', firstId: 7, commands: [new Uint8Array(24), new Uint8Array(25)] },
    { type: 'read', id: 2 ** 40, committed: null },
    { type: 'read', id: 3, committed: logIndex(0) },
    { type: 'read', id: 3, committed: logIndex(2 ** 40) },
    { type: 'readAt', id: 1, index: logIndex(2 ** 40) },
    { type: 'readFailed', id: 1, error: ERROR },
  ]
  for (const message of messages) {
    const frames = encodeForward(message)
    assert.is(frames.length, 1)
    assert.equal(read(frames), message)
  }
})

test('a message that does not fit into a frame comes in parts, and is put together again', () => {
  const commands = [new Uint8Array(200_000).fill(1), new Uint8Array(2 ** 20).fill(2)]
  const frames = encodeForward({ type: 'commands', kind: 'command', firstId: 1, commands })
  assert.ok(frames.length > 1)
  assert.ok(frames.every(({ length }) => length <= CHANNEL_FRAME_BYTES_MAX))
  const reader = new ForwardReader()
  for (const frame of frames.slice(0, -1)) assert.is(reader.read(frame), 'more')
  assert.equal(reader.read(frames.at(-1) as Uint8Array), { type: 'commands', kind: 'command', firstId: 1, commands })
})

test('parts without an end are not kept beyond the longest message', () => {
  const reader = new ForwardReader()
  const part = newFrame(37, 512 * 1024)
  sealFrame(part)
  let kept = 0
  while (kept < 100 && reader.read(part) === 'more') kept += 1
  assert.is(kept, 4)
})

test('what was changed on its way, or cut, is no message', () => {
  const [frame = new Uint8Array(0)] = encodeForward({
    type: 'commands',
    kind: 'command',
    firstId: 1,
    commands: [Uint8Array.of(1, 2)],
  })
  for (let at = 0; at < frame.length; at += 1) {
    const flipped = Uint8Array.from(frame)
    flipped[at] = (flipped[at] as number) ^ 1
    assert.is(read([flipped]), null, `byte ${at}`)
    assert.is(read([frame.slice(0, at)]), null, `${at} bytes`)
  }
})

test('bodies that make no sense are no message, whatever their checksum says', () => {
  for (let word = 31; word <= 40; word += 1) {
    if (word === 37) continue
    for (let length = 0; length < 80; length += 1) {
      const frame = newFrame(word, length)
      for (const filling of [0x00, 0x01, 0xff]) {
        frame.fill(filling, 8)
        const message = read([sealFrame(frame)])
        if (message !== null && message !== 'more' && message.type === 'commands') {
          assert.ok(message.commands.length <= BATCH_COUNT_MAX)
        }
      }
    }
  }
})

test('a command of a session without its whole header is no message, and none that is longer than one may be', () => {
  for (const [kind, length, isOne] of [
    ['session', 23, false],
    ['session', 24, true],
    ['command', 0, true],
    ['command', 2 ** 20, true],
    ['command', 2 ** 20 + 1, false],
  ] as const) {
    const frames = encodeForward({ type: 'commands', kind, firstId: 1, commands: [new Uint8Array(length)] })
    assert.is(read(frames) !== null, isOne, `${kind} of ${length}`)
  }
})

test('an error that makes no sense says that nobody knows what became of the command', () => {
  const frame = newFrame(36, 8 + 2)
  frame.set([0x7b, 0x22], 16)
  const message = read([sealFrame(frame)])
  assert.ok(message !== null && message !== 'more' && message.type === 'readFailed')
  assert.equal([message.error.code, message.error.outcome], ['ERR_RAFT_LEADERSHIP_LOST', 'unknown'])
})

test('only what an asker says first makes a channel one of forwarding', () => {
  assert.equal(
    [0, 1, 16, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40].filter((word) => isForward(newFrame(word, 0))),
    [32, 34, 37, 38, 39],
  )
  assert.not(isForward(new Uint8Array(7)))
})

test('a server that does not lead takes no command and confirms no read, and says who leads', () => {
  const stage = new Stage('follower')
  stage.ask(commands(1, 2))
  assert.equal(stage.failures(), [
    [1, 'ERR_RAFT_NOT_LEADER', 'not-applied'],
    [2, 'ERR_RAFT_NOT_LEADER', 'not-applied'],
  ])
  stage.ask({ type: 'read', id: 5, committed: null })
  stage.serving.flush()
  const [message] = stage.said
  assert.ok(message?.type === 'readFailed' && message.id === 5)
  assert.equal(message.error.leader, { id: 's2', address: 's2:1' })
  assert.is(stage.serving.count, 0)
})

test('a peer has no more commands without an answer than the bound, and the next are refused', () => {
  const stage = new Stage()
  for (let at = 0; at < SERVED_COUNT_MAX; at += BATCH_COUNT_MAX) stage.ask(commands(at + 1, BATCH_COUNT_MAX))
  assert.equal([stage.failures(), stage.serving.count], [[], SERVED_COUNT_MAX])
  stage.ask(commands(9000, 1))
  stage.serving.flush()
  const [message] = stage.said
  const [answer] = message?.type === 'answers' ? message.answers : []
  assert.ok(answer !== undefined && 'error' in answer && answer.id === 9000)
  assert.equal([answer.error.code, answer.error.outcome], ['ERR_RAFT_OVERLOADED', 'not-applied'])
  assert.match(answer.error.message, /^8192 forwarded commands have no answer yet/)
})

test('a peer that does not read its answers is refused more of them', () => {
  const stage = new Stage()
  stage.queuedBytes = ANSWERS_QUEUED_BYTES_MAX
  stage.ask(commands(1, 1))
  assert.equal(stage.failures(), [])
  stage.queuedBytes += 1
  stage.ask(commands(2, 1))
  assert.equal(stage.failures(), [[2, 'ERR_RAFT_OVERLOADED', 'not-applied']])
})

test('questions about reads have a bound, too', () => {
  const stage = new Stage()
  for (let id = 1; id <= READS_SERVED_MAX + 1; id += 1) stage.ask({ type: 'read', id, committed: null })
  stage.serving.flush()
  const [message, ...rest] = stage.said
  assert.ok(message?.type === 'readFailed' && message.id === READS_SERVED_MAX + 1)
  assert.equal([message.error.code, rest], ['ERR_RAFT_OVERLOADED', []])
})

test('a leader answers by its lease at once who asks for that and knows of all that is committed, and nobody else', () => {
  const stage = new Stage()
  const answers = (committed: LogIndex | null): readonly ForwardMessage[] => {
    stage.ask({ type: 'read', id: 5, committed })
    stage.serving.flush()
    return stage.said.splice(0)
  }
  assert.equal(answers(logIndex(1)), [], 'it holds none')
  stage.hasLease = true
  assert.equal(answers(null), [])
  assert.equal(answers(logIndex(0)), [])
  assert.is(stage.serving.count, 3)
  assert.equal(answers(logIndex(1)), [{ type: 'readAt', id: 5, index: logIndex(1) }])
  assert.is(stage.serving.count, 3)
})

test('a channel on which nonsense comes is closed, and nothing more is said on it', () => {
  const stage = new Stage()
  stage.ask(commands(1, 3))
  stage.ask({ type: 'answers', answers: [{ id: 1, error: ERROR }] })
  assert.equal(stage.closed, ['it makes no sense, or came damaged'])
  stage.proposals.failWaiting(leadershipLost)
  assert.equal([stage.failures(), stage.serving.count], [[], 0])
})

test('commands of sessions are taken as such, and what came to nothing is answered as an error, or with nothing', () => {
  const stage = new Stage()
  stage.ask({ type: 'commands', kind: 'session', firstId: 1, commands: Array.from({ length: 5 }, sessionCommand) })
  assert.equal(stage.appended(true).length, 5)
  const results = [
    new NoAnswer(5, 1, 'lost'),
    new NoAnswer(5, 2, 'past'),
    new NoAnswer(5, 3, 'applied'),
    new NoAnswer(0, 0, null),
    Uint8Array.of(9),
  ]
  stage.proposals.complete(logIndex(11), (index) => results[index - 7])
  stage.serving.flush()
  const [message] = stage.said
  const answers = message?.type === 'answers' ? message.answers : []
  assert.equal(
    answers.map((answer) => ('error' in answer ? [answer.error.code, answer.error.outcome] : answer.result)),
    [
      ['ERR_RAFT_SESSION_LOST', 'not-applied'],
      ['ERR_RAFT_SESSION_SEQUENCE', 'unknown'],
      ['ERR_RAFT_ANSWER_LOST', 'applied'],
      null,
      Uint8Array.of(9),
    ],
  )
})

test('a leader asks validate of what another server sends, and refuses what it cannot decode: the rest is appended', () => {
  const stage = new Stage('leader', (command) => {
    if (command.length === 3) throw new TypeError('three is too much')
  })
  const bytes = [Uint8Array.of(1), Uint8Array.of(1, 2, 3), Uint8Array.of(2), Uint8Array.of(9), Uint8Array.of(3)]
  stage.ask({ type: 'commands', kind: 'command', firstId: 1, commands: bytes })
  assert.equal(stage.failures(), [
    [2, 'ERR_RAFT_INVALID', 'not-applied'],
    [4, 'ERR_RAFT_INVALID', 'not-applied'],
  ])
  assert.equal(stage.appended(), [[1], [2], [3]])
  stage.proposals.complete(logIndex(9), () => new Uint8Array(0))
  stage.serving.flush()
  const answers = stage.said.flatMap((message) => (message.type === 'answers' ? message.answers : []))
  assert.equal(
    answers.map(({ id, ...rest }) => [id, 'error' in rest ? rest.error.code : rest.index]),
    [
      [1, 7],
      [3, 8],
      [5, 9],
    ],
  )
  assert.is(stage.serving.count, 0)
})

test('of a command of a session it asks what stands behind the header, and nothing of what opens or closes one', () => {
  const stage = new Stage('leader', (command) => {
    if (command.length === 3) throw new TypeError('three is too much')
  })
  const headed = (session: number, sequence: number, command: readonly number[]): Uint8Array => {
    const bytes = Uint8Array.of(...new Uint8Array(SESSION_HEADER_BYTES), ...command)
    writeSessionHeader(viewOf(bytes), 0, session, sequence, 1)
    return bytes
  }
  const bytes = [headed(0, 0, []), headed(5, 1, [1]), headed(5, 2, [1, 2, 3]), headed(5, 0, [])]
  stage.ask({ type: 'commands', kind: 'session', firstId: 1, commands: bytes })
  assert.equal(stage.failures(), [[3, 'ERR_RAFT_INVALID', 'not-applied']])
  assert.equal(
    stage.decoded.map((command) => [...command]),
    [[1], [1, 2, 3]],
  )
  assert.is(stage.appended().length, 3)
})

test('without a validate nothing is decoded before it is appended', () => {
  const stage = new Stage()
  stage.ask({ type: 'commands', kind: 'command', firstId: 1, commands: [Uint8Array.of(9)] })
  assert.equal([stage.failures(), stage.decoded, stage.appended()], [[], [], [[9]]])
})

test('what waits is not applied when a leadership ends, each command by itself', () => {
  const stage = new Stage()
  stage.ask(commands(1, 2))
  stage.proposals.failWaiting((outcome) => (outcome === 'unknown' ? leadershipLost(outcome) : notLeader(null)))
  assert.equal(stage.failures(), [
    [1, 'ERR_RAFT_NO_LEADER', 'not-applied'],
    [2, 'ERR_RAFT_NO_LEADER', 'not-applied'],
  ])
})

test.run()
