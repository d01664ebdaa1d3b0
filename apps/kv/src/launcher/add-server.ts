/**
 * `npm start -- --add`: one more server for the cluster that runs over a data folder. It writes down that the server is
 * there, which the running `npm start` sees and starts it, waits until it answers, and has the leader add it. Each step
 * is looked at before it is done, so that the same call after a failure goes on where that one ended.
 */

import { formatAddress, type Member } from '../cluster/members.js'
import { UsageError } from '../cli/exit-codes.js'
import { AddError, askFirstLine, askServer, type Answer } from './ask-server.js'
import type { Secret } from '../security/small-file.js'
import type { Screen } from './cluster-screen.js'
import { readState, serverLog, writeState, type DataDirState } from './data-dir.js'
import { launchedMember, SERVERS_MAX } from './launch-options.js'
import { checkPorts } from './ports.js'

/** More servers survive more failures, and each costs every write something. */
const CLUSTER_MAX = 5
const STEP_MAX_MS = 15_000
/** The leader answers once the new one votes. */
const ADD_MAX_MS = 70_000
const PAUSE_MS = 100

/** Rejects with UsageError, ListenError or AddError. */
export async function addServer(dataDir: string, screen: Screen, password: Secret | null): Promise<void> {
  const state = readState(dataDir)
  if (state === null)
    throw new UsageError(`there is no cluster in ${dataDir}: npm start makes one, --data names its folder`)
  const leader = await findLeader(state, dataDir, password)
  const member = chooseServer(state, leader.answer)
  const isNew = !memberIds(state).includes(member.id)
  if (isNew) {
    await checkPorts([member], 'free it')
    const { servers, added, removed } = state
    writeState(dataDir, {
      ...state,
      added: servers.includes(member.id) ? added : [...added, member.id],
      removed: removed.filter((id) => id !== member.id),
    })
  }
  const { id } = member
  screen.say(`${id}: clients at ${formatAddress(member.redis)}, peers at ${formatAddress(member.peer)} ...`)
  const log = serverLog(dataDir, id)
  await untilAnswers(
    member,
    password,
    `${id} does not answer: does npm start still run over ${dataDir}? The log of ${id}: ${log}`,
  )
  screen.say(`${id} runs; the leader, ${leader.member.id}, adds it ...`)
  await haveAdded(member, state, dataDir, password)
  const servers = (await findLeader(readState(dataDir) ?? state, dataDir, password)).answer.members
  screen.say(`${id} is a voter: the cluster has ${servers.length} servers, ${servers.join(', ')}`)
  if (servers.length % 2 === 0) screen.say('an even number survives no more failures than one less: add another')
}

const memberIds = ({ servers, added, removed }: DataDirState): readonly string[] =>
  [...servers, ...added].filter((id) => !removed.includes(id))

interface Leader {
  readonly member: Member
  readonly answer: Answer
}

async function findLeader(state: DataDirState, dataDir: string, password: Secret | null): Promise<Leader> {
  const members = memberIds(state).map((id) => launchedMember(id, state.port))
  for (const end = Date.now() + STEP_MAX_MS; ; await pause()) {
    const answers = await Promise.all(members.map((member) => askServer(member, password)))
    const at = answers.findIndex((answer) => answer?.role === 'leader')
    const [member, answer] = [members[at], answers[at]]
    if (member !== undefined && answer !== null && answer !== undefined) return { member, answer }
    if (answers.every((each) => each === null)) {
      throw new AddError(`no server of the cluster in ${dataDir} answers: start it first, with npm start`)
    }
    if (Date.now() > end) throw new AddError(`the cluster in ${dataDir} has no leader: its servers' logs lie there`)
  }
}

/** One that an earlier call has begun to add, or the next. */
function chooseServer(state: DataDirState, { members }: Answer): Member {
  const begun = memberIds(state).find((id) => !members.includes(id))
  if (begun !== undefined) return launchedMember(begun, state.port)
  const names = members.join(', ')
  if (members.length >= CLUSTER_MAX) {
    throw new UsageError(
      `the cluster has ${members.length} servers, ${names}: RAFT REMOVE takes one out before another comes`,
    )
  }
  const ids = Array.from({ length: SERVERS_MAX }, (_, at) => `s${at + 1}`)
  const free = ids.find((id) => !members.includes(id) && !memberIds(state).includes(id))
  if (free === undefined) throw new UsageError(`every name of s1 .. s${SERVERS_MAX} is taken`)
  return launchedMember(free, state.port)
}

async function untilAnswers(member: Member, password: Secret | null, otherwise: string): Promise<void> {
  for (const end = Date.now() + STEP_MAX_MS; (await askServer(member, password)) === null; await pause()) {
    if (Date.now() > end) throw new AddError(otherwise)
  }
}

async function haveAdded(member: Member, state: DataDirState, dataDir: string, password: Secret | null): Promise<void> {
  const line = `RAFT ADD ${member.id} ${formatAddress(member.peer)} ${formatAddress(member.redis)}`
  for (const end = Date.now() + ADD_MAX_MS; ; await pause()) {
    const leader = await findLeader(state, dataDir, password)
    if (leader.answer.members.includes(member.id)) return
    const reply = await askFirstLine(leader.member, password, line, ADD_MAX_MS)
    if (reply !== null && !reply.startsWith('-')) return
    const mayBeAgain = reply === null || /^-(MOVED|CLUSTERDOWN|TRYAGAIN) /.test(reply)
    if (mayBeAgain && Date.now() < end) continue
    const said = reply === null ? 'did not answer' : `says: ${reply.slice(1)}`
    throw new AddError(`the leader ${said}. ${member.id} goes on waiting; npm start -- --add tries again`)
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, PAUSE_MS))
}
