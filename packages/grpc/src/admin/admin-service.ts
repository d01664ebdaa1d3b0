/**
 * `balsa.admin.v1.Admin` (proto/balsa/admin/v1/admin.proto): what operators ask one server. It has no passwords of its
 * own: the application's credentials and interceptors guard it as they guard the rest of its gRPC server.
 */

import type { Server } from '@grpc/grpc-js'
import type { ChangeOptions, ConfigurationAnswer, Member, Raft, WaitOptions } from 'balsa-raft'
import { optionsError } from '../options.js'
import { unary, unaryMethod } from '../unary.js'
import {
  type AddMemberMessage,
  addMemberCodec,
  type Empty,
  emptyCodec,
  type MemberMessage,
  memberRequestCodec,
  type MemberRequestMessage,
  membersCodec,
  type MembersMessage,
  snapshotCodec,
  type SnapshotMessage,
  statusCodec,
  type StatusMessage,
  transferCodec,
  transferredCodec,
  type TransferredMessage,
  type TransferMessage,
} from './messages.js'

/** So much of `Raft` as is needed. */
export type AdminSource = Pick<
  Raft<never, unknown>,
  | 'status'
  | 'health'
  | 'configuration'
  | 'addVoter'
  | 'addNonvoter'
  | 'removeServer'
  | 'promote'
  | 'demoteVoter'
  | 'transferLeadership'
  | 'snapshot'
>

const path = (method: string): string => `/balsa.admin.v1.Admin/${method}`

const adminService = {
  Status: unaryMethod(path('Status'), emptyCodec, statusCodec),
  ListMembers: unaryMethod(path('ListMembers'), emptyCodec, membersCodec),
  AddMember: unaryMethod(path('AddMember'), addMemberCodec, membersCodec),
  RemoveMember: unaryMethod(path('RemoveMember'), memberRequestCodec, membersCodec),
  PromoteMember: unaryMethod(path('PromoteMember'), memberRequestCodec, membersCodec),
  DemoteMember: unaryMethod(path('DemoteMember'), memberRequestCodec, membersCodec),
  TransferLeadership: unaryMethod(path('TransferLeadership'), transferCodec, transferredCodec),
  TakeSnapshot: unaryMethod(path('TakeSnapshot'), emptyCodec, snapshotCodec),
} as const

/**
 * Adds the admin service to a gRPC server. Whoever may call that server may remove members: guard it. Returns what
 * takes it away. Throws ERR_RAFT_OPTIONS where there is one already.
 */
export function addAdmin(server: Server, raft: AdminSource): () => void {
  try {
    server.addService(adminService, {
      Status: unary<Empty, StatusMessage>(() => statusMessage(raft)),
      ListMembers: unary<Empty, MembersMessage>(() => membersMessage(raft.configuration())),
      AddMember: unary((request: AddMemberMessage, wait) => addMember(raft, request, wait)),
      RemoveMember: change((id, options) => raft.removeServer(id, options)),
      PromoteMember: change((id, options) => raft.promote(id, options)),
      DemoteMember: change((id, options) => raft.demoteVoter(id, options)),
      TransferLeadership: unary(({ to }: TransferMessage, wait) => transfer(raft, to, wait)),
      TakeSnapshot: unary<Empty, SnapshotMessage>((_, wait) => raft.snapshot(wait)),
    })
  } catch {
    throw optionsError('addAdmin: this gRPC server has an admin service already')
  }
  return () => server.removeService(adminService)
}

function change(make: (id: string, options: ChangeOptions) => Promise<ConfigurationAnswer>) {
  return unary(async ({ id, ifIndex, force }: MemberRequestMessage, wait): Promise<MembersMessage> =>
    membersMessage(await make(id, changeOptionsOf({ ifIndex, force }, wait))),
  )
}

async function addMember(raft: AdminSource, request: AddMemberMessage, wait: WaitOptions): Promise<MembersMessage> {
  const { id, address, meta, nonvoter } = request
  const added = { id, address, meta: Object.fromEntries(meta.map(({ key, value }) => [key, value])) }
  const options = changeOptionsOf(request, wait)
  return membersMessage(await (nonvoter ? raft.addNonvoter(added, options) : raft.addVoter(added, options)))
}

async function transfer(raft: AdminSource, to: string, wait: WaitOptions): Promise<TransferredMessage> {
  return { leaderId: await raft.transferLeadership({ ...wait, ...(to === '' ? {} : { to }) }) }
}

function changeOptionsOf(
  { ifIndex, force }: { readonly ifIndex: number; readonly force: boolean },
  wait: WaitOptions,
): ChangeOptions {
  return { ...wait, force, ...(ifIndex === 0 ? {} : { ifIndex }) }
}

function membersMessage({ configuration, index, isCommitted }: ConfigurationAnswer): MembersMessage {
  const { voters, nonvoters, outgoing } = configuration
  return {
    index,
    isCommitted,
    members: [
      ...voters.map((voter) => memberMessage(voter, true)),
      ...nonvoters.map((nonvoter) => memberMessage(nonvoter, false, nonvoter.promote)),
    ],
    outgoing: (outgoing ?? []).map((voter) => memberMessage(voter, true)),
  }
}

function memberMessage({ id, address, meta = {} }: Member, isVoter: boolean, promote = false): MemberMessage {
  return { id, address, isVoter, promote, meta: Object.entries(meta).map(([key, value]) => ({ key, value })) }
}

function statusMessage({ status, health }: AdminSource): StatusMessage {
  const { id, clusterId, role, term, leader, firstIndex, lastIndex, commitIndex, appliedIndex, peers } = status
  return {
    ...{ id, clusterId, role, term, firstIndex, lastIndex, commitIndex, appliedIndex },
    leaderId: leader?.id ?? '',
    leaderAddress: leader?.address ?? '',
    isAlive: health.isAlive,
    isReady: health.isReady,
    reason: health.reason ?? '',
    peers: peers.map((peer) => {
      const { downReason, connected, matchIndex, address } = peer
      return { id: peer.id, address, connected, matchIndex, downReason: downReason ?? '' }
    }),
  }
}
