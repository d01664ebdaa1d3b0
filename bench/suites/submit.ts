/**
 * Commands that are called on a follower and travel to the leader, beside those that are called on the leader; commands
 * of clients in this process, which go to the leader and to a follower; and what a round trip over loopback costs on
 * this machine, of which one is to be the difference.
 */

import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { RaftClient } from 'balsa-raft/client'
import { bytes, numbers } from '../cluster/codecs.js'
import { RaftServers } from '../cluster/raft-servers.js'
import { closedLoop, Recorder } from '../cluster/load.js'
import type { Work } from '../cluster/messages.js'
import type { Settings } from '../settings.js'
import type { Case, OpenSuite, Suite } from '../suite.js'
import { APPLY_WARM_UP_MS } from './apply.js'

export const submit: Suite = {
  name: 'submit',
  purpose: 'commands called on a follower, beside those called on the leader',
  minutes: 2,
  rounds: 5,
  seconds: 3,
  metrics: [
    { key: 'perSecond', head: 'entries/s', digits: 0 },
    { key: 'p50', head: 'p50 ms', digits: 3 },
    { key: 'p99', head: 'p99 ms', digits: 2 },
    { key: 'cpuPerEntry', head: 'CPU us/entry', digits: 1 },
  ],
  judged: { key: 'perSecond', better: 'more' },
  open,
}

async function open(settings: Settings): Promise<OpenSuite> {
  const servers = await RaftServers.start(settings)
  const { bytes, seconds, inFlight } = settings
  const [payloadBytes = 256] = bytes
  const one =
    (contender: string, work: Work, find: () => Promise<ChildProcess>) =>
    (callers: number): Case => ({
      contender,
      at: { 'in flight': callers },
      async measure() {
        const load = { work, pace: { inFlight: callers }, payloadBytes, milliseconds: seconds * 1000 }
        const { loaded, latencies, usages } = await servers.measure(await find(), load, APPLY_WARM_UP_MS)
        const { operations, milliseconds } = loaded
        const cpu = usages.reduce((sum, { before, after }) => sum + after.cpuMicroseconds - before.cpuMicroseconds, 0)
        const { p50, p99 } = latencies
        return { perSecond: operations / (milliseconds / 1000), p50, p99, cpuPerEntry: cpu / operations }
      },
    })
  const onLeader = one('apply, leader', 'apply', () => servers.leader())
  const inSession = one('in a session, leader', 'session', () => servers.leader())
  const observed = one('apply, leader, metrics read 10 times a second', 'observedApply', () => servers.leader())
  const traced = one('apply, leader, calls traced', 'tracedApply', () => servers.leader())
  const onFollower = one('submit, follower', 'submit', () => servers.follower())
  const ofClient =
    (contender: string, prefer: 'leader' | 'any') =>
    (callers: number): Case => ({
      contender,
      at: { 'in flight': callers },
      measure: () => measureClient(servers, prefer, callers, seconds * 1000, new Uint8Array(payloadBytes).fill(0x62)),
    })
  const direct = ofClient('submit, client of the leader', 'leader')
  const forwarded = ofClient('submit, client of a follower', 'any')
  const roundTrip: Case = {
    contender: 'round trip over loopback, between two processes',
    at: { 'in flight': 1 },
    measure: () => measureRoundTrips(seconds * 1000, payloadBytes),
  }
  return {
    cases: [
      roundTrip,
      ...[onLeader, inSession, observed, traced, onFollower, direct, forwarded].flatMap((each) => inFlight.map(each)),
    ],
    skipped: [],
    notes: [
      'CPU: user and system time of all three processes; the load included, but that of a client, a fourth process',
    ],
    close: () => servers.close(),
  }
}

/** One client in this process, which is none of those whose time is counted. */
async function measureClient(
  servers: RaftServers,
  prefer: 'leader' | 'any',
  callers: number,
  milliseconds: number,
  command: Uint8Array,
): Promise<Readonly<Record<string, number>>> {
  const client = await clientOf(servers, prefer)
  try {
    const submitted = (): Promise<number> => client.submit(command)
    await closedLoop(submitted, callers, APPLY_WARM_UP_MS, Infinity, new Recorder())
    const recorder = new Recorder()
    const before = await servers.usages()
    const { operations, milliseconds: took } = await closedLoop(submitted, callers, milliseconds, Infinity, recorder)
    const after = await servers.usages()
    const cpu = after.reduce((sum, usage, at) => sum + usage.cpuMicroseconds - (before[at]?.cpuMicroseconds ?? 0), 0)
    const { p50, p99 } = recorder.summary()
    return { perSecond: operations / (took / 1000), p50, p99, cpuPerEntry: cpu / operations }
  } finally {
    await client.close()
  }
}

/** Connected to the leader, or to another server. */
async function clientOf(servers: RaftServers, prefer: 'leader' | 'any'): Promise<RaftClient<Uint8Array, number>> {
  for (const address of servers.addresses) {
    const endpoints = prefer === 'leader' ? servers.addresses : [address]
    const client = await RaftClient.connect({ endpoints, prefer, codec: bytes, resultCodec: numbers })
    const leader = await client.waitForLeader()
    if (prefer === 'leader' || leader.address !== address) return client
    await client.close()
  }
  throw new Error('no follower')
}

async function measureRoundTrips(milliseconds: number, bytes: number): Promise<Readonly<Record<string, number>>> {
  const echo = fork(fileURLToPath(new URL('../cluster/echo-server.js', import.meta.url)))
  const [port] = (await once(echo, 'message')) as [number]
  const socket: Socket = connect(port, '127.0.0.1')
  socket.setNoDelay(true)
  const recorder = new Recorder()
  const content = new Uint8Array(bytes)
  const end = performance.now() + milliseconds
  await new Promise<void>((resolve, reject) => {
    let missing = 0
    let begin = 0
    const ask = (): void => {
      begin = performance.now()
      missing = bytes
      socket.write(content)
    }
    socket.on('connect', ask)
    socket.on('error', reject)
    socket.on('data', ({ length }) => {
      missing -= length
      if (missing > 0) return
      recorder.add(performance.now() - begin)
      if (performance.now() < end) ask()
      else resolve()
    })
  })
  socket.destroy()
  echo.disconnect()
  const { p50, p99 } = recorder.summary()
  return { perSecond: recorder.count / (milliseconds / 1000), p50, p99 }
}
