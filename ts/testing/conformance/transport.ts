/**
 * What every transport must do (the contract of `ts/transport/transport.ts`), as cases over a `TransportWorld` that the
 * implementation brings. What its world cannot do to a connection is null, and the cases that need it say so.
 */

import { deepStrictEqual, match, ok, strictEqual } from 'node:assert'

import type { AppendEntries, Request, Response } from '../../core/messages.js'
import { RaftError } from '../../errors.js'
import { entryBlock, recordLength, sealedLength, verifyBlock } from '../../format/block.js'
import { BOOT_UNPROVEN } from '../../transport/refusal.js'
import { logIndex, termOf } from '../../types.js'
import type { Block, ServerId } from '../../types.js'
import { deadlineOf, wholeNumber } from '../options.js'
import { CASE_DEADLINE_MS, caseOf } from './case.js'
import type { ConformanceCase } from './case.js'
import { addChannels } from './transport-channels.js'
import { addQuestions } from './transport-questions.js'
import { Stage, WatchedClock } from './transport-stage.js'
import type { Add, Body, TransportWorld } from './transport-stage.js'
import { acknowledgement, heartbeat, identityOf, introductionOf, roundOf } from './site.js'
import type { Site } from './site.js'
import { checkOptionNames } from '../../option-checks.js'

/** What `transportConformance` takes; a hook that is null skips the cases that need it. */
export interface TransportConformanceOptions<World extends TransportWorld> {
  /** Makes a network of its own for each case. */
  readonly makeWorld: () => Promise<World>
  /** Ends every connection that `from` has dialled to `to`. New ones may come up. */
  readonly cut: ((world: World, from: ServerId, to: ServerId) => void) | null
  /** From now on nothing arrives on the connections that `from` has dialled to `to`; nothing is lost either. */
  readonly stall: ((world: World, from: ServerId, to: ServerId) => void) | null
  /** The bound of the transports' write queues, 8 to 64 MiB: the cases fill one. */
  readonly writeQueueBytesMax: number
  /** False for a transport without `openChannel`: the cases about channels are skipped then. Default true. */
  readonly channels?: boolean
  /** False for one without `ask`: those about questions are skipped. Default true. */
  readonly questions?: boolean
  /** For one case, and again for closing what it opened; half of it for one thing that it waits for. Default 60,000. */
  readonly deadlineMs?: number
}

const OPTION_NAMES = Object.keys({
  makeWorld: true,
  cut: true,
  stall: true,
  writeQueueBytesMax: true,
  channels: true,
  questions: true,
  deadlineMs: true,
} satisfies Record<keyof TransportConformanceOptions<TransportWorld>, true>)

const MIB = 2 ** 20
const FRAME_BYTES_MAX = 4 * MIB

/** The cases for one transport; each makes a world of its own. */
export function transportConformance<World extends TransportWorld>(
  options: TransportConformanceOptions<World>,
): readonly ConformanceCase[] {
  checkOptionNames('transportConformance', options, OPTION_NAMES)
  const deadlineMs = deadlineOf(options.deadlineMs, CASE_DEADLINE_MS)
  wholeNumber('writeQueueBytesMax', options.writeQueueBytesMax, 8 * MIB, 64 * MIB)
  const cases: ConformanceCase[] = []
  const add = (name: string, body: Body, needs?: 'cut' | 'stall', unable: string | null = null): void => {
    const missing = unable ?? (needs === undefined || options[needs] !== null ? null : `its world has no hook ${needs}`)
    const steps = {
      prepare: async () => stageOf(options, await options.makeWorld(), deadlineMs / 2),
      ask: body,
      release: (stage: Stage) => stage.close(),
    }
    cases.push(caseOf(name, missing, deadlineMs, steps))
  }
  addHandshake(add)
  addMessages(add)
  addSessions(add)
  addEnds(add)
  const noChannels = options.channels === false ? 'it has no channels' : null
  addChannels((name, body, needs) => add(name, body, needs, noChannels))
  const noQuestions = options.questions === false ? 'it asks no questions' : null
  addQuestions((name, body, needs) => add(name, body, needs, noQuestions))
  return cases
}

function stageOf<World extends TransportWorld>(
  { cut, stall, writeQueueBytesMax }: TransportConformanceOptions<World>,
  world: World,
  waitMs: number,
): Stage {
  return new Stage({
    world,
    writeQueueBytesMax,
    waitMs,
    cut: (from, to) => cut?.(world, from, to),
    stall: (from, to) => stall?.(world, from, to),
  })
}

function addHandshake(add: Add): void {
  add('admit sees on both sides who the peer says it is', async (stage) => {
    const a = await stage.site('a', { bootCounter: 41 })
    const b = await stage.site('b', { bootCounter: 2 ** 53 - 1 })
    await stage.dial(a, 'b')
    await a.up('b')
    deepStrictEqual(a.admitted, [introductionOf('b', { bootCounter: 2 ** 53 - 1 })])
    deepStrictEqual(b.admitted, [introductionOf('a', { bootCounter: 41 })])
  })

  add('what a server says of itself is asked anew for each connection, and reaches the peer whole', async (stage) => {
    const a = await stage.site('a')
    const b = await stage.site('b')
    let asked = 0
    const boots = Array.from({ length: 17 }, (_, at) => ({ bootCounter: at + 1, bootNonce: 'ab'.repeat(16) }))
    const words = { boots, knownBoot: 1, term: termOf(2 ** 52), hasJoined: true, targetWasAdded: true }
    const said = (peer: ServerId) => {
      asked += 1
      return { ...words, knownBoot: peer.length, lastIndex: logIndex(asked) }
    }
    a.onIntroduce = said
    b.onIntroduce = said
    // The dialling side is heard before the other one speaks, so that it can answer.
    b.onAdmit = async () => {
      strictEqual(asked, 1)
      asked = 10
    }
    await stage.dial(a, 'b')
    await a.up('b')
    deepStrictEqual(b.admitted, [introductionOf('a', { ...words, lastIndex: logIndex(1) })])
    deepStrictEqual(a.admitted, [introductionOf('b', { ...words, lastIndex: logIndex(11) })])
  })

  add('a dial that is refused for a boot that was not shown is made again at once, and once', async (stage) => {
    const a = await stage.site('a')
    const b = await stage.site('b')
    const wanted = { bootCounter: 3, bootNonce: 'cd'.repeat(16) }
    let isWanted = false
    a.onAdmit = async () => void (isWanted = true)
    a.onIntroduce = () => ({ boots: isWanted ? [wanted] : [] })
    b.onAdmit = async ({ boots }) => {
      if (boots.length === 0) throw new RaftError(BOOT_UNPROVEN, 'boot 3 was not shown')
    }
    await stage.dial(a, 'b')
    await a.up('b')
    deepStrictEqual(
      b.admitted.map(({ boots }) => boots),
      [[], [wanted]],
    )
    // Whoever is asked for it again and again: how often it had waited before each dial, whatever the backoff is.
    b.onAdmit = () => Promise.reject(new RaftError(BOOT_UNPROVEN, 'boot 4 was not shown'))
    const clock = new WatchedClock(stage.clock)
    const c = await stage.site('c', {}, clock)
    const waits: number[] = []
    c.onIntroduce = () => {
      waits.push(clock.waits)
      return {}
    }
    await stage.dial(c, 'b')
    await stage.until('it has come five times', () => waits.length >= 5)
    // A transport that waits by another clock than it was given cannot be watched.
    if (clock.asked === 0) return
    const atOnce = waits.filter((count, at) => count === waits[at - 1])
    strictEqual(atOnce.length, 1, `it has come again at once ${atOnce.length} times`)
  })

  add('servers of two clusters refuse each other before admit, and both logs name both clusters', async (stage) => {
    const ours = 'aa'.repeat(16)
    const theirs = 'bb'.repeat(16)
    const a = await stage.site('a', { clusterId: ours })
    const b = await stage.site('b', { clusterId: theirs })
    await stage.dial(a, 'b')
    for (const site of [a, b]) {
      await stage.until(`${site.id} logs the clusters`, () =>
        site.warnings(ours).some((line) => String(line.fields['reason']).includes(theirs)),
      )
    }
    strictEqual(a.calls, 0)
    strictEqual(b.calls, 0)
  })

  add('a server that is not the one dialled is refused, and both logs say who it is', async (stage) => {
    const a = await stage.site('a')
    const c = await stage.site('c')
    a.transport.setPeers([{ id: 'b', address: await stage.address('a', 'c') }])
    await stage.until('both logs say so', () => a.warnings('c').length > 0 && c.warnings('looks for b').length > 0)
    strictEqual(a.calls, 0)
    strictEqual(c.calls, 0)
  })

  add('a peer that the accepting side does not admit never comes up, and its log says why', async (stage) => {
    const a = await stage.site('a')
    const b = await stage.site('b')
    b.onAdmit = () => Promise.reject(new RaftError('ERR_RAFT_PEER_REPLACED', 'a was wiped, remove it first'))
    await stage.dial(a, 'b')
    await stage.until(
      'both logs say why',
      () => a.warnings('a was wiped').length > 0 && b.warnings('a was wiped').length > 0,
    )
    deepStrictEqual(a.sessions, [])
  })

  add('a peer that the dialling side does not admit never comes up, and its log says why', async (stage) => {
    const a = await stage.site('a')
    const b = await stage.site('b')
    a.onAdmit = () => Promise.reject(new RaftError('ERR_RAFT_PEER_REPLACED', 'b was wiped, remove it first'))
    await stage.dial(a, 'b')
    const said = (site: Site) => site.lines.some((line) => String(line.fields['reason']).includes('b was wiped'))
    await stage.until('both logs say why', () => said(a) && said(b))
    deepStrictEqual(a.sessions, [])
    deepStrictEqual(b.requests, [])
  })

  for (const late of ['a', 'b'] as const) {
    add(
      `a peer is not up before the admit of ${late === 'a' ? 'the dialling' : 'the accepting'} side has resolved`,
      async (stage) => {
        const a = await stage.site('a')
        const b = await stage.site('b')
        let admit = (): void => {}
        const site = late === 'a' ? a : b
        site.onAdmit = () => new Promise((resolve) => (admit = resolve))
        await stage.dial(a, 'b')
        await stage.until('admit was called', () => site.admitted.length === 1)
        await stage.someWhile()
        deepStrictEqual(a.sessions, [])
        admit()
        const session = await a.up('b')
        a.ask('b', session, heartbeat(1))
        await stage.until('the request comes', () => b.requests.length === 1)
      },
    )
  }

  for (const closing of ['a', 'b'] as const) {
    add(
      `an admit of ${closing === 'a' ? 'the dialling' : 'the accepting'} side that resolves after its close brings nothing up`,
      async (stage) => {
        const a = await stage.site('a')
        const b = await stage.site('b')
        const site = closing === 'a' ? a : b
        let admit = (): void => {}
        site.onAdmit = () => new Promise((resolve) => (admit = resolve))
        await stage.dial(a, 'b')
        await stage.until('admit was called', () => site.admitted.length > 0)
        await site.transport.close()
        const { calls } = site
        admit()
        await stage.someWhile()
        strictEqual(site.calls, calls)
        ok(!site.lines.some(({ event }) => event === 'transport.link-up' || event === 'transport.peer-up'))
        strictEqual(a.sessionWith('b'), null)
      },
    )
  }
}

function addMessages(add: Add): void {
  add('every message arrives as it was sent', async (stage) => {
    const { a, b, session } = await stage.pair()
    const requests = sampleRequests()
    const responses = sampleResponses()
    for (const request of requests) a.transport.send('b', session, request)
    a.transport.flush()
    await stage.until('all requests come', () => b.requests.length === requests.length)
    deepStrictEqual(
      b.requests.map(({ message }) => message),
      requests,
    )
    const link = b.requests[0]?.link ?? 0
    for (const response of responses) b.transport.respond(link, response)
    b.transport.flush()
    await stage.until('all responses come', () => a.responses.length === responses.length)
    deepStrictEqual(
      a.responses,
      responses.map((message) => ({ from: 'b', session, message })),
    )
    ok(b.requests.every((request) => request.from === 'a' && request.link === link))
  })

  add('requests and answers arrive in the order in which they were sent', async (stage) => {
    const { a, b, session } = await stage.pair()
    const total = 3000
    for (let round = 1; round <= total; round++) {
      a.transport.send('b', session, round % 5 === 0 ? withBlocks([blockOf(round % 977, 8)], round) : heartbeat(round))
      if (round % 7 === 0) a.transport.flush()
    }
    a.transport.flush()
    await stage.until('all requests come', () => b.requests.length === total)
    const inOrder = Array.from({ length: total }, (_, i) => i + 1)
    deepStrictEqual(
      b.requests.map(({ message }) => roundOf(message)),
      inOrder,
    )
    for (const { link, message } of b.requests) {
      b.transport.respond(link, acknowledgement(roundOf(message)))
      if (roundOf(message) % 11 === 0) b.transport.flush()
    }
    b.transport.flush()
    await stage.until('all answers come', () => a.responses.length === total)
    deepStrictEqual(
      a.responses.map(({ message }) => roundOf(message)),
      inOrder,
    )
  })

  add('what is only queued does not leave before the flush', async (stage) => {
    const { a, b, session } = await stage.pair()
    await stage.dial(b, 'a')
    const back = await b.up('a')
    a.transport.send('b', session, heartbeat(1))
    for (let round = 1; round <= 20; round++) {
      b.ask('a', back, heartbeat(round))
      await stage.until('the other direction works', () => a.requests.length === round)
    }
    deepStrictEqual(b.requests, [])
    a.transport.flush()
    await stage.until('the request comes', () => b.requests.length === 1)
  })

  add('blocks of 1 byte of payload up to a full frame of 4 MiB arrive byte for byte, and stay so', async (stage) => {
    const { a, b, session } = await stage.pair()
    const sent = [
      ...[1, 2, 100, 4095, 16_384, 65_000, 65_536, 262_144, 1_048_576].map((size) => [blockOf(size, 8)]),
      fullFrame(),
      [blockOf(3, 8)],
      [blockOf(7, 8), blockOf(70_000, 9), blockOf(0, 10)],
      fullFrame(),
    ]
    for (const [i, blocks] of sent.entries()) {
      a.ask('b', session, withBlocks(blocks, 1))
      if (i % 6 === 5) await stage.until('they come', () => b.requests.length === i + 1)
    }
    for (let i = 0; i < 40; i++) a.ask('b', session, withBlocks([blockOf(50_000, 8, 0x55)], 2))
    await stage.until('all requests come', () => b.requests.length === sent.length + 40)
    for (const [i, blocks] of sent.entries()) {
      const message = b.requests[i]?.message
      if (message?.type !== 'AppendEntries') throw new Error(`request ${i} is a ${message?.type}`)
      strictEqual(message.blocks.length, blocks.length)
      for (const [j, block] of blocks.entries()) {
        const arrived: Block | undefined = message.blocks[j]
        if (arrived === undefined) throw new Error(`request ${i} has no block ${j}`)
        deepStrictEqual([arrived.first, arrived.last, arrived.term], [block.first, block.last, block.term])
        ok(Buffer.compare(arrived.data, block.data) === 0, `block ${j} of request ${i} has changed`)
        ok(verifyBlock(arrived.data))
      }
    }
  })
}

function addSessions(add: Add): void {
  add(
    'sessions come up and go down in turn, each with a higher number',
    async (stage) => {
      const { a, b } = await stage.pair()
      let session = await a.up('b')
      for (let i = 0; i < 4; i++) {
        if (i === 2) await stage.dial(a)
        else stage.cut('a', 'b')
        await a.down('b', session)
        if (i === 2) await stage.dial(a, 'b')
        session = await a.up('b', session)
      }
      await a.transport.close()
      deepStrictEqual(
        a.sessions.map(({ type }) => type),
        Array.from({ length: 5 }, () => ['up', 'down']).flat(),
      )
      for (let i = 0; i < a.sessions.length; i += 2) {
        strictEqual(a.sessions[i]?.session, a.sessions[i + 1]?.session)
        ok((a.sessions[i]?.session ?? 0) > (a.sessions[i - 2]?.session ?? 0))
      }
      deepStrictEqual(b.sessions, [])
    },
    'cut',
  )

  add('a peer that starts late, or again, is found', async (stage) => {
    const a = await stage.site('a')
    await stage.dial(a, 'b')
    await stage.until('a dial has failed', () => a.lines.some((line) => line.event === 'transport.dial-failed'))
    const b = await stage.site('b')
    const first = await a.up('b')
    await b.transport.close()
    await a.down('b', first)
    const again = await stage.site('b', { bootCounter: 2 })
    const second = await a.up('b', first)
    a.ask('b', second, heartbeat(9))
    await stage.until('the request comes', () => again.requests.length === 1)
  })

  add(
    'what is sent on a session that is over is dropped',
    async (stage) => {
      const { a, b, session } = await stage.pair()
      stage.cut('a', 'b')
      const next = await a.up('b', session)
      a.ask('b', session, heartbeat(1))
      a.ask('b', next + 1, heartbeat(2))
      a.ask('c', next, heartbeat(3))
      a.ask('b', next, heartbeat(4))
      await stage.until('a request comes', () => b.requests.length > 0)
      deepStrictEqual(
        b.requests.map(({ message }) => roundOf(message)),
        [4],
      )
    },
    'cut',
  )

  add(
    'an answer to a link that is gone is dropped',
    async (stage) => {
      const { a, b, session } = await stage.pair()
      a.ask('b', session, heartbeat(1))
      await stage.until('the request comes', () => b.requests.length === 1)
      const old = b.requests[0]?.link ?? 0
      stage.cut('a', 'b')
      const next = await a.up('b', session)
      a.ask('b', next, heartbeat(2))
      await stage.until('the second request comes', () => b.requests.length === 2)
      const link = b.requests[1]?.link ?? 0
      ok(link > old, 'a link is never used again')
      b.answer(old, acknowledgement(1))
      b.answer(link + 1000, acknowledgement(2))
      b.answer(link, acknowledgement(3))
      await stage.until('an answer comes', () => a.responses.length > 0)
      deepStrictEqual(
        a.responses.map(({ session: of, message }) => [of, roundOf(message)]),
        [[next, 3]],
      )
    },
    'cut',
  )

  add('links, sessions and peers that never were are ignored, and so is a flush of nothing', async (stage) => {
    const { a, b, session } = await stage.pair()
    for (const { transport } of [a, b]) {
      transport.respond(4711, acknowledgement(1))
      transport.reject(4711, 'nobody')
      transport.send('nobody', 1, heartbeat(1))
      transport.flush()
      transport.flush()
    }
    a.transport.send('b', session + 1, heartbeat(2))
    a.ask('b', session, heartbeat(3))
    await stage.until('the request comes', () => b.requests.length > 0)
    deepStrictEqual(
      b.requests.map(({ message }) => roundOf(message)),
      [3],
    )
    strictEqual(a.sessionWith('b'), session)
  })

  add('a peer that is no longer one loses its session, a new address is dialled', async (stage) => {
    const { a, b, session } = await stage.pair()
    await stage.site('c')
    await stage.dial(a, 'b', 'c')
    await a.up('c')
    strictEqual(a.sessionWith('b'), session, 'a peer that stays keeps its session')
    await stage.dial(a, 'c')
    await a.down('b', session)
    await b.transport.close()
    const moved = await stage.site('moved', { serverId: 'b' })
    a.transport.setPeers([{ id: 'b', address: await stage.address('a', 'moved') }])
    const next = await a.up('b', session)
    a.ask('b', next, heartbeat(1))
    await stage.until('the request comes to the new address', () => moved.requests.length === 1)
  })

  add('of two connections that the same peer dialled the older one ends', async (stage) => {
    const b = await stage.site('b')
    let boot = 0
    b.onAdmit = async (peer) => {
      if (peer.bootCounter < boot) throw new RaftError('ERR_RAFT_PEER_REPLACED', 'a younger one was here')
      boot = peer.bootCounter
    }
    const old = await stage.site('a')
    await stage.dial(old, 'b')
    const oldSession = await old.up('b')
    const young = await stage.site('a2', { serverId: 'a', bootCounter: 2 })
    await stage.dial(young, 'b')
    const youngSession = await young.up('b')
    await old.down('b', oldSession)
    await old.transport.close()
    strictEqual(young.sessionWith('b'), youngSession)
    young.ask('b', youngSession, heartbeat(1))
    await stage.until('a request comes on the newer', () => b.requests.some(({ message }) => roundOf(message) === 1))
  })
}

function addEnds(add: Add): void {
  add(
    'a session whose peer takes nothing ends at the bound of its write queue',
    async (stage) => {
      const { a, session } = await stage.pair()
      stage.stall('a', 'b')
      const request = withBlocks([blockOf(1_000_000, 8)], 1)
      // Beyond the bound only what the machine's own socket buffers hold may be sent.
      const most = stage.writeQueueBytesMax / 1_000_000 + 40
      let sent = 0
      while (a.sessionWith('b') === session && sent < most) {
        a.ask('b', session, request)
        sent++
        if (sent % 4 === 0) await new Promise((resolve) => setImmediate(resolve))
      }
      const end = a.sessions[1]
      strictEqual(end?.type, 'down', `${sent} requests of 1 MB were taken`)
      match(end?.type === 'down' ? end.reason : '', new RegExp(`over ${stage.writeQueueBytesMax}`))
    },
    'stall',
  )

  add('a rejected link ends, and the peer is told why', async (stage) => {
    const { a, b, session } = await stage.pair()
    a.ask('b', session, heartbeat(1))
    await stage.until('the request comes', () => b.requests.length === 1)
    b.transport.reject(b.requests[0]?.link ?? 0, 'an entry of the future')
    match(await a.down('b', session), /an entry of the future/)
    ok(b.lines.some((line) => String(line.fields['reason']).includes('an entry of the future')))
    await a.up('b', session)
  })

  add(
    'a peer that is expelled loses the connections of both directions, is told why, and may come again',
    async (stage) => {
      const { a, b, session } = await stage.pair()
      if (a.transport.expel === undefined) return
      await stage.dial(b, 'a')
      const back = await b.up('a')
      a.transport.expel('b', new RaftError('ERR_RAFT_PEER_REPLACED', 'b has lost entries'))
      match(await a.down('b', session), /b has lost entries/)
      match(await b.down('a', back), /b has lost entries/)
      await a.up('b', session)
      await b.up('a', back)
    },
  )

  add('connections of another boot of a peer end and those of the boot that is named stay', async (stage) => {
    const { a, b, session } = await stage.pair()
    if (a.transport.expel === undefined) return
    await stage.dial(b, 'a')
    const back = await b.up('a')
    const error = new RaftError('ERR_RAFT_PEER_REPLACED', 'b has started again')
    a.transport.expel('b', error, identityOf('b'))
    a.ask('b', session, heartbeat(1))
    b.ask('a', back, heartbeat(2))
    await stage.until('both are heard', () => a.requests.length === 1 && b.requests.length === 1)
    a.transport.expel('b', error, identityOf('b', { bootCounter: 2, bootNonce: 'b1'.repeat(16) }))
    match(await a.down('b', session), /b has started again/)
    match(await b.down('a', back), /b has started again/)
  })

  add(
    'a close is told to the other side as a goodbye, on either connection, by a transport that can tell',
    async (stage) => {
      const { a, b } = await stage.pair()
      await stage.dial(b, 'a')
      await b.up('a')
      await b.transport.close()
      await a.down('b', a.sessions[0]?.session ?? 0)
      const ends = [...a.endsWith('b'), ...a.linkEnds.map(({ end }) => end)]
      ok(
        ends.every((end) => end === 'goodbye' || end === undefined),
        `it was told as ${ends.join(', ')}`,
      )
    },
  )

  add('a connection that this side ends says nothing of the other', async (stage) => {
    const { a, b, session } = await stage.pair()
    a.ask('b', session, heartbeat(1))
    await stage.until('it comes', () => b.requests.length === 1)
    b.transport.reject(b.requests[0]?.link ?? 0, 'it was not wanted')
    await a.down('b', session)
    const ends = [...a.endsWith('b'), ...b.linkEnds.map(({ end }) => end)]
    ok(
      ends.every((end) => end === 'unclear' || end === undefined),
      `it was told as ${ends.join(', ')}`,
    )
  })

  add('after close no handler is called, and every session has gone down before', async (stage) => {
    const { a, b, session } = await stage.pair()
    await stage.dial(b, 'a')
    const back = await b.up('a')
    for (let round = 0; round < 100; round++) b.ask('a', back, heartbeat(round))
    a.ask('b', session, heartbeat(1))
    await a.transport.close()
    const { calls } = a
    strictEqual(a.sessionWith('b'), null)
    await b.down('a', back)
    a.ask('b', session, heartbeat(2))
    await stage.someWhile()
    strictEqual(a.calls, calls)
    await a.transport.close()
  })

  add('a transport that was never started closes, and closes again', async (stage) => {
    const transport = stage.transport('x')
    await transport.close()
    await transport.close()
  })

  add('the second transport on an address is refused with the address and a remedy', async (stage) => {
    const first = await stage.site('a')
    let refused: unknown = null
    try {
      await stage.site('a')
    } catch (error) {
      refused = error
    }
    if (!(refused instanceof RaftError)) throw new Error(`start answered ${String(refused)}`)
    strictEqual(refused.code, 'ERR_RAFT_LISTEN')
    ok(refused.message.includes(boundAddress(first)), refused.message)
    match(refused.message, /choose another/)
  })
}

function boundAddress(site: Site): string {
  const line = site.lines.find(({ event }) => event === 'transport.listening')
  return String(line?.fields['address'])
}

function sampleRequests(): readonly Request[] {
  const top = 2 ** 53 - 1
  return [
    heartbeat(0),
    { type: 'RequestVote', term: termOf(top), lastIndex: logIndex(top - 1), lastTerm: termOf(2 ** 32) },
    { type: 'RequestVote', term: termOf(3), lastIndex: logIndex(0), lastTerm: termOf(0), isTransfer: true },
    { type: 'TimeoutNow', term: termOf(top), lastIndex: logIndex(top), lastTerm: termOf(top) },
    { type: 'PreVote', proposedTerm: termOf(1), lastIndex: logIndex(0), lastTerm: termOf(0), round: top },
    withBlocks([blockOf(10, 8), blockOf(0, 9)], 2 ** 40 + 3),
    heartbeat(top),
  ]
}

function sampleResponses(): readonly Response[] {
  const top = 2 ** 53 - 1
  return [
    acknowledgement(4),
    { ...acknowledgement(top), status: 'busy', matchIndex: logIndex(top) },
    { ...acknowledgement(5), lastIndex: logIndex(2 ** 40 + 1) },
    { ...acknowledgement(2), status: 'conflict', hintIndex: logIndex(2 ** 33 + 1), hintTerm: termOf(2 ** 32 - 1) },
    { type: 'RequestVoteResult', term: termOf(top), granted: true },
    { type: 'RequestVoteResult', term: termOf(1), granted: false },
    { type: 'PreVoteResult', term: termOf(2), granted: true, round: 2 ** 32 },
    { type: 'PreVoteResult', term: termOf(2), granted: false, round: 0 },
  ]
}

function withBlocks(blocks: readonly Block[], round: number): AppendEntries {
  return { ...heartbeat(round), prevIndex: logIndex((blocks[0]?.first ?? 1) - 1), blocks }
}

/** A block with one entry of that many bytes, no two alike, or all `fill`. */
function blockOf(payloadBytes: number, index: number, fill: number | null = null): Block {
  const payload = new Uint8Array(payloadBytes)
  for (let i = 0; i < payloadBytes; i++) payload[i] = fill ?? (i * 31 + (i >> 8) + payloadBytes) & 0xff
  return entryBlock('command', logIndex(index), termOf(3), 1_700_000_000_000, payload)
}

/** Blocks that fill a frame to its last byte but for less than one record's step. */
function fullFrame(): readonly Block[] {
  const blocks: Block[] = []
  let left = FRAME_BYTES_MAX
  const overhead = sealedLength(1, recordLength(0))
  for (let index = 8; left > overhead; index++) {
    const payloadBytes = Math.min(1_048_576, Math.floor((left - overhead) / 8) * 8)
    const block = blockOf(payloadBytes, index)
    blocks.push(block)
    left -= block.data.byteLength
  }
  return blocks
}
