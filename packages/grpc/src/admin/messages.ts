/** The messages of proto/balsa/admin/v1/admin.proto. */

import { codecOf, type Field, type Fields } from '../protobuf.js'

export type Empty = Readonly<Record<string, never>>

export interface MetaEntry {
  readonly key: string
  readonly value: string
}

export interface MemberMessage {
  readonly id: string
  readonly address: string
  readonly isVoter: boolean
  readonly promote: boolean
  readonly meta: readonly MetaEntry[]
}

export interface MembersMessage {
  readonly index: number
  readonly isCommitted: boolean
  readonly members: readonly MemberMessage[]
  readonly outgoing: readonly MemberMessage[]
}

export interface PeerMessage {
  readonly id: string
  readonly address: string
  readonly connected: boolean
  readonly downReason: string
  readonly matchIndex: number
}

export interface StatusMessage {
  readonly id: string
  readonly clusterId: string
  readonly role: string
  readonly term: number
  readonly leaderId: string
  readonly leaderAddress: string
  readonly firstIndex: number
  readonly lastIndex: number
  readonly commitIndex: number
  readonly appliedIndex: number
  readonly isAlive: boolean
  readonly isReady: boolean
  readonly reason: string
  readonly peers: readonly PeerMessage[]
}

export interface AddMemberMessage {
  readonly id: string
  readonly address: string
  readonly meta: readonly MetaEntry[]
  readonly nonvoter: boolean
  readonly ifIndex: number
  readonly force: boolean
}

export interface MemberRequestMessage {
  readonly id: string
  readonly ifIndex: number
  readonly force: boolean
}

export interface TransferMessage {
  readonly to: string
}

export interface TransferredMessage {
  readonly leaderId: string
}

export interface SnapshotMessage {
  readonly id: string
  readonly index: number
  readonly term: number
  readonly bytes: number
}

const text = (number: number): Field => ({ number, type: 'string' })
const whole = (number: number): Field => ({ number, type: 'uint64' })
const flag = (number: number): Field => ({ number, type: 'bool' })
const list = (number: number, type: Fields): Field => ({ number, type, isList: true })

/** A map is a list of these. */
const META = { key: text(1), value: text(2) }
const MEMBER = { id: text(1), address: text(2), isVoter: flag(3), promote: flag(4), meta: list(5, META) }
const PEER = { id: text(1), address: text(2), connected: flag(3), downReason: text(4), matchIndex: whole(5) }

export const emptyCodec = codecOf<Empty>({})

export const membersCodec = codecOf<MembersMessage>({
  index: whole(1),
  isCommitted: flag(2),
  members: list(3, MEMBER),
  outgoing: list(4, MEMBER),
})

export const statusCodec = codecOf<StatusMessage>({
  id: text(1),
  clusterId: text(2),
  role: text(3),
  term: whole(4),
  leaderId: text(5),
  leaderAddress: text(6),
  firstIndex: whole(7),
  lastIndex: whole(8),
  commitIndex: whole(9),
  appliedIndex: whole(10),
  isAlive: flag(11),
  isReady: flag(12),
  reason: text(13),
  peers: list(14, PEER),
})

export const addMemberCodec = codecOf<AddMemberMessage>({
  id: text(1),
  address: text(2),
  meta: list(3, META),
  nonvoter: flag(4),
  ifIndex: whole(5),
  force: flag(6),
})

export const memberRequestCodec = codecOf<MemberRequestMessage>({ id: text(1), ifIndex: whole(2), force: flag(3) })

export const transferCodec = codecOf<TransferMessage>({ to: text(1) })

export const transferredCodec = codecOf<TransferredMessage>({ leaderId: text(1) })

export const snapshotCodec = codecOf<SnapshotMessage>({ id: text(1), index: whole(2), term: whole(3), bytes: whole(4) })
