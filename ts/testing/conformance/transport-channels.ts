/** What every transport with channels must do: the cases of `transportConformance` about `openChannel`. */

import { deepStrictEqual, match, ok, strictEqual, throws } from 'node:assert'

import { RaftError } from '../../errors.js'
import { CHANNEL_FRAME_BYTES_MAX, CHANNELS_MAX } from '../../transport/channel.js'
import { heartbeat, identityOf, roundOf } from './site.js'
import type { Site, SiteChannel } from './site.js'
import type { Add, Stage } from './transport-stage.js'

interface Opened {
  readonly a: Site
  readonly b: Site
  /** The end of `a`, which has opened it. */
  readonly near: SiteChannel
  /** The end of `b`. */
  readonly far: SiteChannel
}

export function addChannels(add: Add): void {
  addFrames(add)
  addOpening(add)
  addBounds(add)
  addEnds(add)
  addNeighbours(add)
}

function addFrames(add: Add): void {
  add('a channel carries frames in order, in both directions, and needs no flush', async (stage) => {
    const { near, far } = await opened(stage)
    const total = 500
    for (let number = 1; number <= total; number++) {
      near.send(frameOf(number, 1 + (number % 700)))
      far.send(frameOf(number, 1 + (number % 300)))
    }
    await stage.until('all come', () => near.frames.length === total && far.frames.length === total)
    for (let number = 1; number <= total; number++) {
      deepStrictEqual(plain(far.frames[number - 1]), plain(frameOf(number, 1 + (number % 700))))
      deepStrictEqual(plain(near.frames[number - 1]), plain(frameOf(number, 1 + (number % 300))))
    }
    deepStrictEqual([near.ends, far.ends], [[], []])
  })

  add(
    'frames of 1 byte up to the longest arrive byte for byte, and are the own of whoever gets them',
    async (stage) => {
      const { near, far } = await opened(stage)
      const sizes = [
        1,
        2,
        19,
        1023,
        1024,
        1025,
        4096,
        65_536,
        262_144,
        CHANNEL_FRAME_BYTES_MAX - 1,
        CHANNEL_FRAME_BYTES_MAX,
      ]
      // Whatever is written into a frame that has come, no other one changes.
      far.answer = (frame) => {
        const copy = Uint8Array.from(frame)
        frame.fill(0xee)
        far.frames[far.frames.length - 1] = copy
      }
      const sent = sizes.flatMap((size, at) => {
        const frame = frameOf(at, size)
        return [frame, frame]
      })
      for (const frame of sent) near.send(frame)
      await stage.until('all come', () => far.frames.length === sent.length)
      for (const [at, frame] of sent.entries()) {
        const expected = frameOf(at >> 1, frame.byteLength)
        ok(Buffer.compare(far.frames[at] ?? new Uint8Array(), expected) === 0, `frame ${at} has changed`)
      }
    },
  )

  add('a frame that is empty or too long is not sent, and the channel goes on', async (stage) => {
    const { near, far } = await opened(stage)
    throws(() => near.send(new Uint8Array()), /0 bytes/)
    throws(
      () => near.send(new Uint8Array(CHANNEL_FRAME_BYTES_MAX + 1)),
      new RegExp(`${CHANNEL_FRAME_BYTES_MAX + 1} bytes`),
    )
    near.send(frameOf(1, 8))
    await stage.until('the next one comes', () => far.frames.length > 0)
    deepStrictEqual([far.frames.map(plain), far.ends], [[plain(frameOf(1, 8))], []])
  })

  add('what one side says at once is heard', async (stage) => {
    const { a, b } = await stage.pair()
    const taken = b.onChannel.bind(b)
    b.onChannel = (from, channel) => {
      channel.send(frameOf(7, 100))
      return taken(from, channel)
    }
    const near = await a.open('b')
    await stage.until('it comes', () => near.frames.length === 1)
    deepStrictEqual(near.frames.map(plain), [plain(frameOf(7, 100))])
  })

  add('what waits to be written is counted, and nothing when it was taken', async (stage) => {
    const { near, far } = await opened(stage)
    strictEqual(near.channel?.queuedBytes, 0)
    for (let number = 0; number < 4; number++) near.send(frameOf(number, 1_000_000))
    ok((near.channel?.queuedBytes ?? -1) >= 0)
    await stage.until('all come', () => far.frames.length === 4)
    await stage.until('nothing waits', () => near.channel?.queuedBytes === 0)
  })
}

function addOpening(add: Add): void {
  add('both servers open channels to each other, and each knows who has opened its own', async (stage) => {
    const { a, b } = await stage.pair()
    await stage.dial(b, 'a')
    await b.up('a')
    const [toB, toA] = await Promise.all([a.open('b'), b.open('a')])
    toB.send(frameOf(1, 10))
    toA.send(frameOf(2, 20))
    await stage.until('both come', () => a.channels[0]?.frames.length === 1 && b.channels[0]?.frames.length === 1)
    deepStrictEqual([a.channels[0]?.from, b.channels[0]?.from], ['b', 'a'])
    deepStrictEqual(b.channels[0]?.frames.map(plain), [plain(frameOf(1, 10))])
    deepStrictEqual(a.channels[0]?.frames.map(plain), [plain(frameOf(2, 20))])
  })

  add('a channel is no session: none comes up, goes down or is refused with it', async (stage) => {
    const { a, b, near, far } = await opened(stage)
    const sessions = [...a.sessions]
    near.channel?.close('done')
    await stage.until('it has ended', () => far.ends.length > 0)
    b.onAdmit = () => Promise.reject(new RaftError('ERR_RAFT_PEER_REPLACED', 'a was wiped'))
    await a.refusedChannel('b')
    await stage.someWhile()
    deepStrictEqual(a.sessions, sessions)
    deepStrictEqual([b.sessions, a.refusals, a.failedDials, b.refusals], [[], [], [], []])
    deepStrictEqual([a.linkEnds, b.linkEnds], [[], []])
  })

  add('a channel to a server that is down, or that is no peer, is refused with the reason', async (stage) => {
    const a = await stage.site('a')
    await stage.dial(a, 'b')
    match(await a.refusedChannel('b'), /no channel to b: ./)
    match(await a.refusedChannel('c'), /c is not a peer of server a/)
    const b = await stage.site('b')
    await a.up('b')
    const near = await a.open('b')
    near.send(frameOf(1, 1))
    await stage.until('it comes now', () => b.channels[0]?.frames.length === 1)
  })

  add('a channel to a server of another cluster is refused, and both clusters are named', async (stage) => {
    const [ours, theirs] = ['aa'.repeat(16), 'bb'.repeat(16)]
    const a = await stage.site('a', { clusterId: ours })
    const b = await stage.site('b', { clusterId: theirs })
    await stage.dial(a, 'b')
    const reason = await a.refusedChannel('b')
    ok(reason.includes(ours) && reason.includes(theirs), reason)
    deepStrictEqual(b.channels, [])
  })

  for (const refusing of ['a', 'b'] as const) {
    const which = refusing === 'a' ? 'dialling' : 'accepting'
    add(`a channel that the ${which} side does not admit is refused with the reason`, async (stage) => {
      const { a, b } = await stage.pair()
      const site = refusing === 'a' ? a : b
      site.onAdmit = () => Promise.reject(new RaftError('ERR_RAFT_PEER_REPLACED', 'that server was wiped'))
      match(await a.refusedChannel('b'), /that server was wiped/)
      await stage.someWhile()
      deepStrictEqual(b.channels, [])
    })

    add(`no frame comes before the admit of the ${which} side has resolved`, async (stage) => {
      const { a, b } = await stage.pair()
      const site = refusing === 'a' ? a : b
      let admit = (): void => {}
      const { length } = site.admitted
      site.onAdmit = () => new Promise((resolve) => (admit = resolve))
      const taken = b.onChannel.bind(b)
      b.onChannel = (from, channel) => {
        channel.send(frameOf(1, 10))
        return taken(from, channel)
      }
      let near: SiteChannel | null = null
      const opening = a.open('b').then((channel) => (near = channel))
      await stage.until('admit was called', () => site.admitted.length > length)
      site.onAdmit = async () => {}
      await stage.someWhile()
      deepStrictEqual([near, b.channels], [null, []])
      admit()
      const open = await opening
      open.send(frameOf(2, 10))
      await stage.until('both are heard', () => open.frames.length === 1 && b.channels[0]?.frames.length === 1)
    })
  }

  add('a channel that the peer does not take ends at once, and says why', async (stage) => {
    const { a, b } = await stage.pair()
    b.takesChannels = false
    const near = await a.open('b')
    await stage.until('it has ended', () => near.ends.length > 0)
    deepStrictEqual(near.ends.length, 1)
    match(near.ends[0] ?? '', /server b takes no channels/)
  })

  for (const how of ['setPeers', 'close'] as const) {
    add(`a channel that is being opened is refused by ${how}`, async (stage) => {
      const { a, b } = await stage.pair()
      b.onAdmit = () => new Promise(() => {})
      const { length } = b.admitted
      const refused = a.refusedChannel('b')
      await stage.until('admit was called', () => b.admitted.length > length)
      if (how === 'close') await a.transport.close()
      else a.transport.setPeers([])
      match(await refused, how === 'close' ? /server a closes/ : /b is no longer a peer of server a/)
    })
  }
}

function addBounds(add: Add): void {
  add(`${CHANNELS_MAX} channels to one peer are opened and the next is refused, until one ends`, async (stage) => {
    const { a, b } = await stage.pair()
    await stage.dial(b, 'a')
    await b.up('a')
    const open = await Promise.all(Array.from({ length: CHANNELS_MAX }, () => a.open('b')))
    match(await a.refusedChannel('b'), new RegExp(`more than ${CHANNELS_MAX} channels to b`))
    // The other direction, and other peers, have their own.
    await b.open('a')
    await stage.site('c')
    await stage.dial(a, 'b', 'c')
    await a.open('c')
    open[0]?.channel?.close('no longer needed')
    const next = await a.open('b')
    next.send(frameOf(3, 3))
    await stage.until('the new one works', () => b.channels.some(({ frames }) => frames.length === 1))
    open[1]?.send(frameOf(4, 4))
    await stage.until('so does the other', () => b.channels[1]?.frames.length === 1)
  })

  add('of more channels than that, which a peer has opened nevertheless, the oldest ends', async (stage) => {
    const { a, b } = await stage.pair()
    const open = [await a.open('b')]
    while (open.length < CHANNELS_MAX) open.push(await a.open('b'))
    await stage.until('b has them', () => b.channels.length === CHANNELS_MAX)
    const double = await stage.site('a2', { serverId: 'a' })
    await stage.dial(double, 'b')
    const newest = await double.open('b')
    newest.send(frameOf(1, 10))
    await stage.until('the newest works', () => b.channels[CHANNELS_MAX]?.frames.length === 1)
    await stage.until('the oldest has ended', () => open[0]?.ends.length === 1)
    match(open[0]?.ends[0] ?? '', new RegExp(`more than ${CHANNELS_MAX} channels to b`))
    deepStrictEqual(
      b.channels.map(({ ends }) => ends.length),
      [1, ...Array<number>(CHANNELS_MAX).fill(0)],
    )
  })

  add('a channel over the bound of its queue ends with the reason on both sides, and messages go on', async (stage) => {
    const { a, b, near, far } = await opened(stage)
    const session = a.sessionWith('b') ?? 0
    const frame = frameOf(1, 1_000_000)
    // Beyond the bound only what the machine's own socket buffers hold may be sent.
    const most = stage.writeQueueBytesMax / frame.byteLength + 40
    for (let sent = 0; near.ends.length === 0 && sent < most; sent++) near.send(frame)
    match(near.ends[0] ?? `${most} MB were taken`, new RegExp(`over ${stage.writeQueueBytesMax}`))
    strictEqual(near.channel?.queuedBytes, 0)
    near.send(frame)
    await stage.until('the other side knows', () => far.ends.length > 0)
    a.ask('b', session, heartbeat(9))
    await stage.until('a message comes', () => b.requests.length > 0)
    deepStrictEqual([near.ends.length, far.ends.length, a.sessionWith('b')], [1, 1, session])
  })
}

function addEnds(add: Add): void {
  for (const closing of ['near', 'far'] as const) {
    const which = closing === 'near' ? 'the side that has opened it' : 'the other side'
    add(`a channel that ${which} closes ends there without a word, and says why to its peer, once`, async (stage) => {
      const channel = await opened(stage)
      const mine = channel[closing]
      const theirs = channel[closing === 'near' ? 'far' : 'near']
      const { calls } = mine
      mine.send(frameOf(1, 10))
      mine.channel?.close('the snapshot is there')
      mine.channel?.close('again')
      mine.send(frameOf(2, 10))
      await stage.until('the peer knows', () => theirs.ends.length > 0)
      theirs.send(frameOf(3, 10))
      theirs.channel?.close('me too')
      await stage.someWhile()
      strictEqual(theirs.ends.length, 1)
      match(theirs.ends[0] ?? '', /the snapshot is there/)
      deepStrictEqual(theirs.frames.map(plain), [plain(frameOf(1, 10))])
      strictEqual(mine.calls, calls)
    })
  }

  add('a peer that is none any more loses its channel, and both sides are told why', async (stage) => {
    const { a, near, far } = await opened(stage)
    await stage.site('c')
    await stage.dial(a, 'b', 'c')
    near.send(frameOf(1, 1))
    await stage.until('it lives while b stays a peer', () => far.frames.length === 1)
    await stage.dial(a, 'c')
    match(near.ends[0] ?? '', /b is no longer a peer of server a/)
    await stage.until('the other side knows', () => far.ends.length > 0)
    match(far.ends[0] ?? '', /b is no longer a peer of server a/)
    deepStrictEqual([near.ends.length, far.ends.length], [1, 1])
  })

  add('a peer that is expelled loses its channels of both directions, and both sides are told why', async (stage) => {
    const { a, b, near, far } = await opened(stage)
    if (a.transport.expel === undefined) return
    await stage.dial(b, 'a')
    await b.up('a')
    const back = await b.open('a')
    const error = new RaftError('ERR_RAFT_PEER_REPLACED', 'b has lost entries')
    a.transport.expel('b', error, identityOf('b'))
    near.send(frameOf(1, 1))
    back.send(frameOf(2, 2))
    await stage.until('those of its boot stay', () => far.frames.length === 1 && a.channels[0]?.frames.length === 1)
    a.transport.expel('b', error)
    for (const ends of [near.ends, a.channels[0]?.ends ?? []]) match(ends[0] ?? '', /b has lost entries/)
    await stage.until('b knows', () => far.ends.length > 0 && back.ends.length > 0)
    for (const { ends } of [far, back]) match(ends[0] ?? '', /b has lost entries/)
  })

  for (const closing of ['a', 'b'] as const) {
    const which = closing === 'a' ? 'has opened' : 'has taken'
    add(`after close nothing comes on a channel that a server ${which}, which has ended before`, async (stage) => {
      const channel = await opened(stage)
      const [mine, theirs] = closing === 'a' ? [channel.near, channel.far] : [channel.far, channel.near]
      for (let number = 0; number < 100; number++) theirs.send(frameOf(number, 1000))
      await channel[closing].transport.close()
      const { calls } = mine
      match(mine.ends[0] ?? '', new RegExp(`server ${closing} closes`))
      await stage.until('the peer knows', () => theirs.ends.length > 0)
      theirs.send(frameOf(1, 10))
      await stage.someWhile()
      deepStrictEqual([mine.ends.length, theirs.ends.length, mine.calls], [1, 1, calls])
    })
  }

  add(
    'a channel that breaks ends on both sides, once, and another one can be opened',
    async (stage) => {
      const { a, b, near, far } = await opened(stage)
      const session = await a.up('b')
      stage.cut('a', 'b')
      await stage.until('both know', () => near.ends.length > 0 && far.ends.length > 0)
      await a.up('b', session)
      const next = await a.open('b')
      next.send(frameOf(1, 10))
      await stage.until('it comes', () => b.channels[1]?.frames.length === 1)
      deepStrictEqual([near.ends.length, far.ends.length], [1, 1])
    },
    'cut',
  )
}

function addNeighbours(add: Add): void {
  add('messages go on beside a channel that carries much, both ways', async (stage) => {
    const { a, b, near, far } = await opened(stage)
    const session = a.sessionWith('b') ?? 0
    const total = 40
    let sent = 0
    const sendNext = (): void => {
      if (sent < total) near.send(frameOf((sent += 1), CHANNEL_FRAME_BYTES_MAX))
    }
    far.answer = () => far.send(frameOf(1, 1))
    near.answer = sendNext
    for (let window = 0; window < 4; window++) sendNext()
    for (let round = 1; round <= 20; round++) {
      a.ask('b', session, heartbeat(round))
      await stage.until(`round ${round} has come`, () => b.requests.length === round)
    }
    await stage.until('all frames come', () => far.frames.length === total)
    deepStrictEqual(
      b.requests.map(({ message }) => roundOf(message)),
      Array.from({ length: 20 }, (_, at) => at + 1),
    )
  })

  add(
    'messages of the other direction go on beside a channel whose reader takes nothing',
    async (stage) => {
      const { a, b, near } = await opened(stage)
      await stage.dial(b, 'a')
      const back = await b.up('a')
      stage.stall('a', 'b')
      for (let number = 0; number < 6; number++) near.send(frameOf(number, 1_000_000))
      for (let round = 1; round <= 20; round++) b.ask('a', back, heartbeat(round))
      await stage.until('all messages come', () => a.requests.length === 20)
      deepStrictEqual(near.ends, [])
    },
    'stall',
  )
}

/** `a` with a session and a channel to `b`. */
async function opened(stage: Stage): Promise<Opened> {
  const { a, b } = await stage.pair()
  const near = await a.open('b')
  await stage.until('b has the channel', () => b.channels.length === 1)
  const [far] = b.channels
  if (far === undefined) throw new Error('b has no channel')
  return { a, b, near, far }
}

/** No two numbers give the same bytes, but of one byte. */
function frameOf(number: number, bytes: number): Uint8Array {
  const frame = new Uint8Array(bytes)
  for (let at = 0; at < bytes; at++) frame[at] = (at * 31 + (at >> 8) + number * 7) & 0xff
  return frame
}

const plain = (frame: Uint8Array | undefined): readonly number[] => Array.from(frame ?? [])
